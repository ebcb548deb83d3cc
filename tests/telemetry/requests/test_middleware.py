"""Tests that every request is measured, also failed and cancelled ones, as OpenTelemetry's instrumentation does."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from starlette.responses import PlainTextResponse, StreamingResponse

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.http_codes import METHOD_CODES
from sightline_telemetry.events.layout import read_request
from sightline_telemetry.events.slots import ANSWERED, READING, SlotTable
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import FAULTS, TRACES_KEPT, TRACES_OVER_BUDGET
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.requests.allowance import Allowance, AskedSampler
from sightline_telemetry.requests.asgi import Message, Scope
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.propagation import read_caller, within_limits
from sightline_telemetry.requests.recording import N_SCHEMES, EventList
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.testing import SpansInMemory
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.spans import SpanWriter
from sightline_telemetry.traces.tail_sampling import TailSampler
from tests.telemetry.clock import Clock
from tests.telemetry.counted import Counted

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


ROUTES = ("/items/{item}", "/stream", "/endless")
"""Those that the service describes; `/broken` has to stand in its events as text."""


class Measured:
    """A small app behind the middleware, and what was measured."""

    def __init__(self, *, slots: SlotTable | None = None) -> None:
        self.events, self.spans, self.exemplars = EventList(), SpansInMemory(), Exemplars(3600)
        self.events.slots = slots
        self.faults = Faults(self.events.write_aside)
        description = Description((), ROUTES, (), ("middleware", "reading"))
        self.counted = Counted(table := SeriesTable(description), Counts.zero(table))
        writer = SpanWriter(Resource({}), (self.spans,), description)
        self._watch = Watch(table, TailSampler(), self.exemplars, writer, lambda _: None, self.faults)
        self.seen: list[trace.SpanContext] = []
        self.running: list[int] = []
        # FastAPI's own telemetry would make spans of its own where another test has set global providers.
        parts = ("tracing", "metrics", "logs", "operation_spans", "auto_configure")
        self.app = FastAPI(telemetry=dict.fromkeys(parts, False))  # type: ignore[arg-type]
        routes = {route: number for number, route in enumerate(ROUTES)}
        asked = AskedSampler(0.0, Allowance(100))
        self.app.add_middleware(TelemetryMiddleware, sink=self.events, routes=routes, asked=asked, faults=self.faults)
        self.app.get("/items/{item}")(self.item)
        self.app.get("/stream")(self.stream)
        self.app.get("/broken")(self.broken)
        self.app.get("/endless")(self.endless)

    def read(self) -> Counted:
        """Counts the events that wait, and returns all counts so far."""
        table, counts = self.counted.table, self.counted.counts
        self.counted = Counted(table, counts + self._watch.watch(self.events.read()))
        return self.counted

    async def item(self, item: str) -> str:
        """Notes the span context that it runs in, and how many requests run."""
        self.running.append(sum(self.events.active))
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
        return self.read().requests()


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
    assert measured.running == [1, 1]
    assert not any(measured.events.active)


def test_an_app_within_another_is_measured_by_both(measured: Measured) -> None:
    """An app with the middleware that is mounted in another one has a request of its own, and so has the other."""
    inner = Measured()
    measured.app.mount("/inner", inner.app)
    assert measured.get("/inner/items/1").status_code == 200
    assert sum(measured.counts().values()) == sum(inner.counts().values()) == 1
    assert inner.running == [1]
    assert not any(measured.events.active)
    assert not any(inner.events.active)


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
    assert not any(measured.events.active)


def test_a_stream_ends_with_its_last_chunk(measured: Measured) -> None:
    """The duration of a streamed response includes all of its chunks."""
    measured.get("/stream")
    (snapshot,) = measured.read().durations().values()
    assert 0.06 <= snapshot.sum < 1


def test_a_cancelled_request_is_no_failure(measured: Measured) -> None:
    """A request that is cancelled is counted without a status, and leaves nothing running."""

    async def use(client: httpx.AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("/endless"), 0.05)

    measured.run(use)
    assert measured.counts() == {RequestKind("GET", "/endless", 0): 1}
    assert RequestKind("GET", "/endless", 0).attributes["error.type"] == "cancelled"
    assert not any(measured.events.active)
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
    kind = RequestKind("GET", "/items/{item}", 200)
    snapshot = measured.read().durations()[kind]
    exemplars = measured.exemplars.latest()[kind]
    assert snapshot.count == 50
    assert len(exemplars) == sum(count > 0 for count in snapshot.counts)  # one, unless the machine is busy
    assert measured.counted.numbers(TRACES_KEPT)["exemplar"] == len(exemplars)
    durations = {}
    for span in measured.spans.spans:
        context = span.get_span_context()
        assert context is not None
        durations[context.trace_id, context.span_id] = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    shown = {(exemplar.trace_id, exemplar.span_id): exemplar.value for exemplar in exemplars}
    assert shown == pytest.approx(durations)


def faults(measured: Measured) -> dict[str, int]:
    """The faults that were counted, by their place."""
    return {place: int(n) for place, n in measured.read().numbers(FAULTS).items() if n}


def test_a_fault_of_the_telemetry_stays_there(measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    """An event that cannot be written is logged once, counted each time, and no request notices."""
    measured.app.middleware_stack = measured.app.build_middleware_stack()
    middleware = measured.app.middleware_stack
    while not isinstance(middleware, TelemetryMiddleware):
        middleware = middleware.app  # type: ignore[attr-defined]  # every middleware of Starlette has it
    middleware._write = lambda _: 1 / 0  # type: ignore[assignment]  # noqa: SLF001
    assert [measured.get("/items/1", traceparent=CALLER).status_code for _ in range(3)] == [200, 200, 200]
    assert faults(measured) == {"middleware": 3}
    assert len(caplog.records) == 1
    assert not any(measured.events.active)


def test_a_span_that_cannot_be_written_stays_there_too(measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    """A span processor that raises is logged once, counted each time, and every request is counted."""
    measured.spans.on_end = lambda _: 1 / 0  # type: ignore[method-assign, assignment]
    assert [measured.get("/items/1", traceparent=CALLER).status_code for _ in range(3)] == [200, 200, 200]
    assert sum(measured.counts().values()) == 3
    assert faults(measured) == {"reading": 3}
    assert len(caplog.records) == 1


def scope_of(path: str = "/items/7", **more: Any) -> Scope:
    """The scope of a GET."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(errors="surrogateescape"),
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "http_version": "1.1",
        **more,
    }


def answered(measured: Measured, scope: Scope, send: Callable[[Message], None] = lambda _: None) -> None:
    """Has the app answer one request. send: gets each part of the answer."""
    body: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not body:
            await asyncio.Event().wait()  # the client stays connected
        return body.pop()

    async def sending(message: Message) -> None:
        send(message)

    asyncio.run(measured.app(scope, receive, sending))


def test_who_has_the_answer_finds_it_counted(measured: Measured) -> None:
    """The event of a request is written before the last part of its answer leaves, and only once."""
    seen = []
    answered(measured, scope_of(), lambda message: seen.append((message["type"], sum(measured.counts().values()))))
    assert seen == [("http.response.start", 0), ("http.response.body", 1)]
    assert measured.counts() == {RequestKind("GET", "/items/{item}", 200): 1}


def test_the_path_may_be_any_text(measured: Measured) -> None:
    """Paths that are long, or that hold bytes which no text has, are counted as any other."""
    for path in ("/nope/" + "\udcff" * 3, "/nope/" + "é" * 70_000, "/nope/%"):
        answered(measured, scope_of(path, headers=[(b"user-agent", b"\xff" * 70_000)]))
    assert measured.counts() == {RequestKind("GET", "", 404): 3}
    assert faults(measured) == {}
    assert (measured.spans.spans[0].attributes or {})["url.path"] == "/nope/ÿÿÿ"


def test_a_request_in_flight_has_a_slot() -> None:
    """Another process sees a request while it runs, and no longer; its event names the slot that it had."""
    slots = SlotTable(memoryview(bytearray(64 * 4)))
    measured = Measured(slots=slots)
    in_flight = []
    answered(measured, scope_of("/stream"), lambda _: in_flight.append(slots.read()))
    assert {len(each) for each in in_flight} == {1}
    assert slots.read() == []
    (event,) = map(read_request, measured.events.read())
    ((found,), *_) = in_flight
    assert (found.slot, found.trace_id, found.span_id) == (event.slot, event.trace_id, event.span_id)
    assert (found.phase, found.unix_ns, found.start_ns) == (READING, event.unix_ns, event.start_ns)
    assert (ROUTES[found.route], found.method) == ("/stream", METHOD_CODES["GET"])


def test_a_published_request_is_answered() -> None:
    """As soon as the event of a request is published, its slot says so."""
    slots = SlotTable(memoryview(bytearray(64)))
    measured = Measured(slots=slots)
    phases = []
    answered(measured, scope_of(), lambda message: phases.append((message["type"], slots.read()[0].phase)))
    assert phases == [("http.response.start", READING), ("http.response.body", ANSWERED)]


def test_a_request_without_a_slot_runs_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """One that finds no free slot is counted; so is one whose slot cannot be written, which is logged too."""
    slots = SlotTable(memoryview(bytearray(64)))
    measured = Measured(slots=slots)
    slots.take(1, 2, 3, 4, 5, 6, 7)
    for _ in range(2):
        answered(measured, scope_of())
    assert faults(measured) == {"slots_full": 2}
    with patch.object(slots, "take", side_effect=OverflowError):
        answered(measured, scope_of())
    assert faults(measured) == {"slots_full": 2, "middleware": 1}
    assert len(caplog.records) == 1
    assert not any(measured.events.active)
    assert measured.counts() == {RequestKind("GET", "/items/{item}", 200): 3}
    assert len(slots.read()) == 1


def test_callers_cannot_make_the_service_pay(measured: Measured) -> None:
    """Of 1,000 requests per second whose callers trace them, 100 are; the rest is counted as cut."""
    asked = AskedSampler(0.0, Allowance(100, Clock()))
    middleware = TelemetryMiddleware(measured.app, measured.events, {}, asked, measured.faults)
    for _ in range(1000):
        request = middleware.begin(scope_of(headers=[(b"traceparent", CALLER.encode())]))
        middleware.end(request, 404)
        middleware.leave(request)
    counted = measured.read()
    assert counted.numbers(TRACES_KEPT)["asked"] == 100
    assert counted.numbers(TRACES_OVER_BUDGET)["asked"] == 900


def test_without_a_place_for_traces_none_is_requested(measured: Measured) -> None:
    """A caller's wish is ignored where no trace can be kept, and is not counted as cut."""
    middleware = TelemetryMiddleware(measured.app, measured.events, {}, None, measured.faults)
    request = middleware.begin(scope_of(headers=[(b"traceparent", CALLER.encode())]))
    middleware.end(request, 404)
    middleware.leave(request)
    assert request.timeline.flags == 0
    assert measured.read().numbers(TRACES_OVER_BUDGET)["asked"] == 0


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
    """Attributes of durations are those of FastAPIInstrumentor, less the version of HTTP, which a client chooses."""
    environment = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    command = [sys.executable, "-W", "ignore", "-c", CONTRIB]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    points = json.loads(done.stdout)
    for path in ("/items/1?secret=7", "/nope"):
        measured.get(path, **{"user-agent": "oracle"})
    ours_by_route = {kind.route: kind.attributes for kind in measured.counts()}
    assert {point.pop("network.protocol.version") for point in points} == {"1.1"}
    assert {point.get("http.route", ""): point for point in points} == ours_by_route


@pytest.mark.parametrize(
    ("http_version", "label"),
    [("1.0", "1.0"), ("1.1", "1.1"), ("2", "2"), ("3", "3"), ("9.9", "other"), ("", "other"), ("1.1\n", "other")],
)
def test_a_version_of_http_makes_no_series(http_version: str, label: str) -> None:
    """The span has the version, whatever a server puts into the scope; the series is the same."""
    measured = Measured()
    answered(measured, scope_of(http_version=http_version))
    assert list(measured.counts()) == [RequestKind("GET", "/items/{item}", 200)]
    assert (measured.spans.spans[-1].attributes or {})["network.protocol.version"] == (http_version or label)


@pytest.mark.parametrize(("scheme", "label"), [("http", "http"), ("https", "https"), ("ws\n", "http")])
def test_a_scheme_is_one_of_two(scheme: str, label: str) -> None:
    """The span has the scheme, which is http if it is neither; it makes no series."""
    measured = Measured()
    answered(measured, scope_of(scheme=scheme))
    assert list(measured.counts()) == [RequestKind("GET", "/items/{item}", 200)]
    assert (measured.spans.spans[-1].attributes or {})["url.scheme"] == label
    assert not any(measured.events.active[code * N_SCHEMES] for code in METHOD_CODES.values())


@pytest.mark.parametrize("value", ["x" * 513, ",".join(f"k{n}=v" for n in range(33)), ",".join("ab" * 300)])
def test_a_tracestate_beyond_the_limits_is_dropped(value: str) -> None:
    """A tracestate of more than 512 bytes or 32 members is dropped; the rest of the caller stays."""
    headers = [(b"traceparent", CALLER.encode()), (b"tracestate", value.encode())]
    caller = read_caller(headers)
    assert caller is not None
    assert (caller.tracestate, caller.span_id) == ("", 0xB7AD6B7169203331)
    baggage = (b"baggage", b"a=b")
    assert within_limits([*headers, baggage]) == [headers[0], baggage]
    assert within_limits([headers[0], (b"baggage", b"x" * 8193)]) == [headers[0]]
