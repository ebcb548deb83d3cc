"""Tests that every request is measured, also failed and cancelled ones, as OpenTelemetry's instrumentation does."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from starlette.responses import PlainTextResponse, StreamingResponse

from sightline_telemetry.export.spans import SpanWriter
from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.golden_signals import GoldenSignals, RequestKind
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.tail_sampling import TailSampler
from sightline_telemetry.testing import SpansInMemory

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Measured:
    """A small app behind the middleware, and what was measured."""

    def __init__(self) -> None:
        self.signals, self.spans, self.faults = GoldenSignals(), SpansInMemory(), Faults("middleware")
        self.seen: list[trace.SpanContext] = []
        # FastAPI's own telemetry would make spans of its own where another test has set global providers.
        parts = ("tracing", "metrics", "logs", "operation_spans", "auto_configure")
        self.app = FastAPI(telemetry=dict.fromkeys(parts, False))  # type: ignore[arg-type]
        writer = SpanWriter(Resource({}), (self.spans,))
        self.app.add_middleware(
            TelemetryMiddleware, signals=self.signals, sampler=TailSampler(), writer=writer, faults=self.faults
        )
        self.app.get("/items/{item}")(self.item)
        self.app.get("/stream")(self.stream)
        self.app.get("/broken")(self.broken)
        self.app.get("/endless")(self.endless)

    async def item(self, item: str) -> str:
        """Notes the span context that it runs in."""
        self.seen.append(trace.get_current_span().get_span_context())
        return item

    async def stream(self) -> StreamingResponse:
        """Sends three chunks, 20 ms apart."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(0.02)
                yield b"x"

        return StreamingResponse(chunks())

    async def broken(self) -> PlainTextResponse:
        """Raises."""
        raise ZeroDivisionError

    async def endless(self) -> None:
        """Never answers."""
        await asyncio.Event().wait()

    def run(self, use: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
        """Runs a coroutine with a client of the app."""

        async def using() -> Any:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test:8000") as client:
                return await use(client)

        return asyncio.run(using())

    def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """One request."""
        response: httpx.Response = self.run(lambda client: client.request(method, path, headers=headers))
        return response

    def counts(self) -> dict[RequestKind, int]:
        """Requests counted, by kind."""
        return {kind: buckets.read().count for kind, buckets in self.signals.durations.items()}


@pytest.fixture
def measured() -> Measured:
    """A new app."""
    return Measured()


def test_requests_are_counted_by_route_and_status(measured: Measured) -> None:
    """The label is the route's template, never the path; a request without a route has no such label."""
    for path in ("/items/1", "/items/2", "/nope/1", "/nope/2"):
        measured.get(path)
    measured.get("/items/1", method="POST")
    assert measured.counts() == {
        RequestKind("GET", "/items/{item}", 200): 2,
        RequestKind("GET", "", 404): 2,
        RequestKind("POST", "/items/{item}", 405): 1,
    }
    assert measured.signals.active == {("GET", "http"): 0, ("POST", "http"): 0}


def test_an_app_within_another_is_measured_by_both(measured: Measured) -> None:
    """An app with the middleware that is mounted in another one has a request of its own, and so has the other."""
    inner = Measured()
    measured.app.mount("/inner", inner.app)
    assert measured.get("/inner/items/1").status_code == 200
    assert sum(measured.counts().values()) == sum(inner.counts().values()) == 1
    assert measured.signals.active == inner.signals.active == {("GET", "http"): 0}


def test_unknown_methods_are_one_series(measured: Measured) -> None:
    """A method that HTTP does not know is `_OTHER` as a label, and itself in the span only."""
    measured.get("/items/1", method="BREW")
    assert measured.counts() == {RequestKind("_OTHER", "/items/{item}", 405): 1}
    assert (measured.spans.spans[-1].attributes or {})["http.request.method_original"] == "BREW"


def test_an_exception_is_a_500(measured: Measured) -> None:
    """An exception is counted as a 500; its trace contains its type but not its text."""
    assert measured.get("/broken").status_code == 500
    assert measured.counts() == {RequestKind("GET", "/broken", 500): 1}
    attributes = measured.spans.spans[-1].attributes or {}
    assert (attributes["error.type"], attributes["sightline.kept"]) == ("ZeroDivisionError", "failed")
    assert measured.signals.active == {("GET", "http"): 0}


def test_a_stream_ends_with_its_last_chunk(measured: Measured) -> None:
    """The duration of a streamed response includes all of its chunks."""
    measured.get("/stream")
    (buckets,) = measured.signals.durations.values()
    assert 0.06 <= buckets.read().sum < 1


def test_a_cancelled_request_is_no_failure(measured: Measured) -> None:
    """A request that is cancelled is counted without a status, and leaves nothing running."""

    async def use(client: httpx.AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("/endless"), 0.05)

    measured.run(use)
    assert measured.counts() == {RequestKind("GET", "/endless", 0): 1}
    assert RequestKind("GET", "/endless", 0).attributes["error.type"] == "cancelled"
    assert measured.signals.active == {("GET", "http"): 0}
    assert [(span.attributes or {})["sightline.kept"] for span in measured.spans.spans] == ["exemplar"]


def test_a_request_runs_in_its_own_context(measured: Measured) -> None:
    """Inside a request OpenTelemetry's context has its ids, sampled only if requested; outside it has no ids."""
    plain = measured.get("/items/1").headers["traceresponse"].split("-")
    asked = measured.get("/items/2", traceparent=CALLER).headers["traceresponse"].split("-")
    first, second = measured.seen
    assert (f"{first.trace_id:032x}", f"{first.span_id:016x}", first.trace_flags.sampled) == (*plain[1:3], False)
    assert (f"{second.trace_id:032x}", f"{second.span_id:016x}", second.trace_flags.sampled) == (*asked[1:3], True)
    assert asked[1] == CALLER.split("-")[1]
    assert not trace.get_current_span().get_span_context().is_valid


def test_only_the_first_of_a_bucket_is_kept(measured: Measured) -> None:
    """Of many quick requests one is kept, as the dot of its bucket, and it is the bucket's exemplar."""
    for _ in range(50):
        measured.get("/items/1")
    snapshot = measured.signals.series(RequestKind("GET", "/items/{item}", 200)).read_fresh()
    assert snapshot.count == 50
    assert len(snapshot.exemplars) == sum(count > 0 for count in snapshot.counts)  # one, unless the machine is busy
    durations = {}
    for span in measured.spans.spans:
        context = span.get_span_context()
        assert context is not None
        durations[context.trace_id, context.span_id] = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    shown = {(exemplar.trace_id, exemplar.span_id): exemplar.value for exemplar in snapshot.exemplars}
    assert shown == pytest.approx(durations)


def test_a_fault_of_the_telemetry_stays_there(measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    """A writer that raises is logged once, counted each time, and no request notices."""
    measured.spans.on_end = lambda _: 1 / 0  # type: ignore[method-assign, assignment]
    assert [measured.get("/items/1", traceparent=CALLER).status_code for _ in range(3)] == [200, 200, 200]
    assert measured.faults.counts == {"middleware": 3}
    assert len(caplog.records) == 1


CONTRIB = """
import asyncio, json, httpx2 as httpx
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
app = FastAPI(telemetry=dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False))
@app.get("/items/{item}")
async def item(item: str, status: int = 200): return item
reader = InMemoryMetricReader()
FastAPIInstrumentor.instrument_app(app, meter_provider=MeterProvider([reader]))
async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test:8000") as client:
        for path in ("/items/1?secret=7", "/nope"):
            await client.get(path, headers={"user-agent": "oracle"})
asyncio.run(main())
metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
points = [m for m in metrics if m.name == "http.server.request.duration"][0].data.data_points
print(json.dumps([dict(point.attributes) for point in points]))
"""


def test_durations_have_the_attributes_of_the_usual_instrumentation(measured: Measured) -> None:
    """Attributes of durations equal those of FastAPIInstrumentor, whose spans `test_contrib.py` compares."""
    environment = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    command = [sys.executable, "-W", "ignore", "-c", CONTRIB]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    points = json.loads(done.stdout)
    for path in ("/items/1?secret=7", "/nope"):
        measured.get(path, **{"user-agent": "oracle"})
    ours_by_route = {kind.route: kind.attributes for kind in measured.signals.durations}
    assert {point.get("http.route", ""): point for point in points} == ours_by_route


@pytest.mark.parametrize(
    ("http_version", "label"),
    [("1.0", "1.0"), ("1.1", "1.1"), ("2", "2"), ("3", "3"), ("9.9", "other"), ("", "other"), ("1.1\n", "other")],
)
def test_a_version_of_http_is_one_of_five_labels(http_version: str, label: str) -> None:
    """The versions that exist are labels, and whatever else a server puts into the scope is counted as `other`."""
    measured = Measured()

    async def request() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/items/7",
            "raw_path": b"/items/7",
            "query_string": b"",
            "headers": [],
            "scheme": "http",
            "http_version": http_version,
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Any) -> None:
            """Drops the answer, which is not what is tested."""

        await measured.app(scope, receive, send)

    asyncio.run(request())
    assert [(kind.route, kind.version) for kind in measured.signals.durations] == [("/items/{item}", label)]
