"""The usual instrumentation as the maker of server spans, and as the oracle of ours."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx2 as httpx
import pytest
from fastapi import FastAPI, Request
from opentelemetry import trace
from opentelemetry.instrumentation import fastapi as instrumentation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.util.http import parse_excluded_urls
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import TRACES_KEPT, TRACES_OVER_BUDGET
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.requests.allowance import Allowance, AskedSampler
from sightline_telemetry.requests.fastapi_instrumentor import ContribTracing, ExternalSpanMiddleware
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.recording import EventList
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.requests.running import TIMELINE
from sightline_telemetry.requests.timeline import PredictionRecord, Timeline
from sightline_telemetry.testing import SpansInMemory
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.spans import SpanWriter
from sightline_telemetry.traces.tail_sampling import HeadSampled, TailSampler
from tests.telemetry.counted import Counted
from tests.telemetry.counts.random_events import REQUESTS as RANDOM

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFUSED = CALLER.removesuffix("01") + "00"

EXCEPTIONS = {
    "sightline.kept": "why the trace exists; no other span can have it",
    "server.address": "theirs has the port in it; the conventions want the address alone",
    "error.type": "ours tells the type of an exception, and that a request was cancelled; theirs knows statuses",
    "user_agent.synthetic.type": "the conventions leave it to those who opt in",
    "http.request.method": "theirs takes `get` for `GET`; methods are case-sensitive, and the application refuses it",
}
"""Attributes in which the two server spans may differ, each with its reason. Beside them, theirs has an event with
the text and the stack of an exception, which may hold values of a request."""


ROUTES = ("/items/{item}", "/broken", "/failed", "/endless")
MODEL = DescribedModel(ModelId("m", "1"), RANDOM.models[0].profile, ("step",))


class SegmentWriter(SpanWriter):
    """Writes what a host's trace lacks, as the providers do where the SDK's sampler decides."""

    def write(self, event: RequestEvent, kind: RequestKind, reason: str) -> None:  # noqa: ARG002
        """Writes the segments."""
        self.write_segments(event)


class Asked(NamedTuple):
    """One request."""

    path: str
    method: str = "GET"
    agent: bytes = b"oracle"
    caller: str = ""


class Served:
    """A small app, measured, whose server spans are made by one or the other."""

    def __init__(self, *, is_contrib: bool, sampler: Sampler | None = None) -> None:
        self.events, self.spans, self.seen = EventList(), SpansInMemory(), list[dict[str, Any]]()
        # FastAPI's own telemetry would make spans of its own where another test has set global providers.
        parts = ("tracing", "metrics", "logs", "operation_spans", "auto_configure")
        self.app = FastAPI(telemetry=dict.fromkeys(parts, False))  # type: ignore[arg-type]
        description = Description((MODEL,), ROUTES, (), ("middleware", "reading"))
        table, faults, self._exemplars = SeriesTable(description), Faults(self.events.write_aside), Exemplars(3600)
        writer = (SegmentWriter if is_contrib else SpanWriter)(Resource({}), (self.spans,), description)
        sampler_of_ours = HeadSampled() if is_contrib else TailSampler()
        self._watch = Watch(table, sampler_of_ours, self._exemplars, writer, lambda _: None, faults)
        self._counted = Counted(table, Counts.zero(table))
        self.app.add_middleware(
            ExternalSpanMiddleware if is_contrib else TelemetryMiddleware,
            sink=self.events,
            routes={route: number for number, route in enumerate(ROUTES)},
            asked=AskedSampler(1.0, Allowance(1000)),
            faults=faults,
        )
        self.app.get("/items/{item}")(self.item)
        self.app.get("/broken")(self.broken)
        self.app.get("/failed")(self.failed)
        self.app.get("/endless")(self.endless)
        self.contrib = ContribTracing(self.app) if is_contrib else None
        if self.contrib is not None:
            tracers = TracerProvider(sampler, Resource({}), shutdown_on_exit=False)
            tracers.add_span_processor(self.spans)
            self.contrib.start(tracers)

    async def item(self, request: Request, item: int) -> int:
        """Waits and predicts, in its own words, and notes what it sees."""
        span = trace.get_current_span()
        span.set_attribute("app.item", item)
        line: Timeline = request.scope[TIMELINE]
        line.prediction = PredictionRecord(
            0, n_rows=1, queued_ns=line.start_ns + 2, marks=(line.start_ns + 3, line.start_ns + 4)
        )
        context = span.get_span_context()
        ids = f"{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        self.seen.append({"ids": ids, "query": request.scope["query_string"], "agent": request.headers["user-agent"]})
        return item

    async def broken(self) -> None:
        """Raises."""
        raise ZeroDivisionError("a value")

    async def failed(self) -> PlainTextResponse:
        """Answers that it failed."""
        return PlainTextResponse("later", 503)

    async def endless(self) -> None:
        """Never answers."""
        await asyncio.Event().wait()

    def ask(self, asked: Asked) -> httpx.Response | None:
        """Sends a request to the app; None if it had to be cancelled."""

        async def send() -> httpx.Response | None:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test:8000") as client:
                traced = {"traceparent": asked.caller, "tracestate": "a=b"} if asked.caller else {}
                sent: Any = {"user-agent": asked.agent, **traced}
                request = client.build_request(asked.method, asked.path, headers=sent)
                request.method = asked.method  # the client would write it in capitals
                try:
                    return await asyncio.wait_for(client.send(request), 0.2 if asked.path == "/endless" else None)
                except TimeoutError:
                    return None

        return asyncio.run(send())

    def read(self) -> Counted:
        """Counts the events that wait, writes what is kept of them, and returns all counts so far."""
        table, counts = self._counted.table, self._counted.counts
        self._counted = Counted(table, counts + self._watch.watch(self.events.read()))
        return self._counted

    def all_spans(self) -> list[ReadableSpan]:
        """The finished spans of all requests so far."""
        self.read()
        return self.spans.spans

    def server_spans(self) -> list[ReadableSpan]:
        """Those of the finished spans that stand for a request."""
        return [span for span in self.all_spans() if span.kind is trace.SpanKind.SERVER]

    def kept(self) -> dict[str, int]:
        """The kept traces, by reason."""
        return self.read().numbers(TRACES_KEPT)

    def exemplars(self) -> set[tuple[int, int]]:
        """Trace and span ids of all exemplars of durations."""
        self.read()
        found = (exemplar for latest in self._exemplars.latest().values() for exemplar in latest)
        return {(exemplar.trace_id, exemplar.span_id) for exemplar in found}


REQUESTS = {
    "200": Asked("/items/1"),
    "a query": Asked("/items/1?secret=7"),
    "a sampled caller": Asked("/items/1", caller=CALLER),
    "404": Asked("/nope"),
    "405": Asked("/items/1", "DELETE"),
    "422": Asked("/items/x"),
    "503": Asked("/failed"),
    "raised": Asked("/broken"),
    "cancelled": Asked("/endless"),
    "an unknown method": Asked("/items/1", "BREW"),
    "a new method": Asked("/items/1", "QUERY"),
    "a method in small letters": Asked("/items/1", "get"),
    "a bot": Asked("/items/1", agent=b"Googlebot/2.1"),
    "UTF-8": Asked("/items/1", agent="café".encode()),
    "Latin-1": Asked("/items/1", agent=b"caf\xe9"),
}


Serving = Callable[..., Served]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Makes apps, under the conventions that the providers choose, and leaves the process as it was."""
    made: list[Served] = []

    def serve(*, is_contrib: bool = True, sampler: Sampler | None = None) -> Served:
        made.append(Served(is_contrib=is_contrib, sampler=sampler))
        return made[-1]

    with patch.dict(os.environ, {"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}):
        yield serve
    for served in made:
        if served.contrib is not None:
            served.contrib.stop()


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
def test_both_server_spans_are_alike(serving: Serving, asked: Asked) -> None:
    """Name, kind, status, parent, flags and attributes of our server span are the instrumentation's, but for
    the exceptions named above; each setting makes one server span.
    """
    spans = []
    for is_contrib in (False, True):
        served = serving(is_contrib=is_contrib)
        served.ask(asked)
        spans.extend(served.server_spans())
    ours, theirs = spans
    differing = {
        name
        for name in {*(ours.attributes or {}), *(theirs.attributes or {})} - {"app.item"}
        if (ours.attributes or {}).get(name) != (theirs.attributes or {}).get(name)
    }
    assert differing <= EXCEPTIONS.keys()
    assert (ours.kind, ours.status.status_code) == (theirs.kind, theirs.status.status_code)
    assert ours.parent == theirs.parent
    assert not ours.links
    assert not theirs.links
    if asked.method != "get":
        assert ours.name == theirs.name
    first, second = ours.get_span_context(), theirs.get_span_context()
    assert first is not None
    assert second is not None
    assert (first.trace_flags, first.trace_state) == (second.trace_flags, second.trace_state)


def test_each_exception_is_one(serving: Serving) -> None:
    """No attribute is excused that does not differ."""
    differing = set()
    for asked in (REQUESTS["raised"], REQUESTS["a bot"], REQUESTS["a method in small letters"]):
        ours, theirs = (dict(_only_span(serving(is_contrib=each), asked).attributes or {}) for each in (False, True))
        differing |= {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    assert differing - {"app.item"} == EXCEPTIONS.keys()


def _only_span(served: Served, asked: Asked) -> ReadableSpan:
    served.ask(asked)
    (span,) = served.server_spans()
    return span


def test_a_request_runs_within_their_span(serving: Serving) -> None:
    """The application sees the recording span itself; response, segments and exemplar have its ids; there is one."""
    served = serving()
    answer = served.ask(Asked("/items/1"))
    assert answer is not None
    spans = {span.name: span for span in served.all_spans()}
    ids = {name: span.get_span_context() for name, span in spans.items()}
    server, predict, step = ids["GET /items/{item}"], ids["predict"], ids["step"]
    assert len(served.all_spans()) == len(("server", "queue", "predict", "step"))
    assert server is not None
    assert (spans["queue"].parent, spans["predict"].parent, spans["step"].parent) == (server, server, predict)
    assert step is not None
    assert (step.trace_id, step.trace_flags) == (server.trace_id, server.trace_flags)
    assert (spans["GET /items/{item}"].attributes or {})["app.item"] == 1
    expected = f"{server.trace_id:032x}-{server.span_id:016x}-03"
    assert (served.seen[0]["ids"], answer.headers["traceresponse"]) == (expected, f"00-{expected}")
    assert served.exemplars() == {(server.trace_id, server.span_id)}
    assert served.kept() == {"asked": 1, "failed": 0, "slow": 0, "exemplar": 0}
    assert not trace.get_current_span().get_span_context().is_valid


class RecordOnly(StaticSampler):
    """Records every span and exports no span."""

    def __init__(self) -> None:
        super().__init__(Decision.RECORD_ONLY)


@pytest.mark.parametrize(
    ("sampler", "caller", "trace_id"),
    [(ALWAYS_OFF, CALLER, CALLER[3:35]), (ParentBased(ALWAYS_OFF), "", None), (None, REFUSED, REFUSED[3:35])],
    ids=["off", "off by its parent", "refused by the caller"],
)
def test_what_is_not_sampled_leaves_nothing_but_ids(
    serving: Serving, sampler: Sampler | None, caller: str, trace_id: str | None
) -> None:
    """Without a sampled span there are no spans, no exemplar and nothing is kept, failed or not; ids are theirs."""
    served = serving(sampler=sampler)
    answer = served.ask(Asked("/items/1", caller=caller))
    served.ask(Asked("/broken", caller=caller))
    assert answer is not None
    ids = answer.headers["traceresponse"].removeprefix("00-")
    assert (ids, ids[-2:] in ("00", "02")) == (served.seen[0]["ids"], True)
    assert ids[:32] == (trace_id or ids[:32])
    assert (served.all_spans(), served.exemplars()) == ([], set())
    assert set(served.kept().values()) | set(served.read().numbers(TRACES_OVER_BUDGET).values()) == {0}
    assert list(served.read().requests().values()) == [1, 1]


def test_a_span_that_is_only_recorded_is_no_exemplar(serving: Serving) -> None:
    """A span that no exporter takes makes no exemplar, for it leads nowhere."""
    served = serving(sampler=RecordOnly())
    served.ask(Asked("/items/1"))
    assert [span.name for span in served.all_spans()] == ["GET /items/{item}"]
    assert (served.exemplars(), served.kept()["asked"]) == (set(), 0)


def test_exemplars_are_of_sampled_traces(serving: Serving) -> None:
    """With half of all traces sampled every request is counted once, and every exemplar is one of the spans."""
    served = serving(sampler=TraceIdRatioBased(0.5))
    for _ in range(60):
        served.ask(Asked("/items/1"))
    contexts = [span.get_span_context() for span in served.server_spans()]
    ids = {(context.trace_id, context.span_id) for context in contexts if context is not None}
    assert 10 < len(ids) < 50
    exemplars = served.exemplars()
    assert exemplars
    assert exemplars <= ids
    assert served.kept()["asked"] == len(ids)
    assert served.read().requests()[RequestKind("GET", "/items/{item}", 200)] == 60


def test_no_bytes_of_a_client_break_a_request(serving: Serving) -> None:
    """Bytes that cannot be decoded reach the application unchanged, and the span does not contain the query."""
    served = serving()
    answer = served.ask(Asked("/items/1?secret=%ff", agent=b"\xff\\x"))
    assert answer is not None
    assert answer.status_code == 200
    assert (served.seen[0]["query"], served.seen[0]["agent"]) == (b"secret=%ff", "\xff\\x")
    assert "secret" not in str(served.server_spans()[0].attributes)


def test_a_url_that_they_leave_out_has_ids_of_its_own(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_FASTAPI_EXCLUDED_URLS holds: no span; the request is counted, under its caller's trace id."""
    monkeypatch.setattr(instrumentation, "_excluded_urls_from_env", parse_excluded_urls("items"))
    served = serving()
    answer = served.ask(Asked("/items/1?a=b", caller=CALLER))
    assert answer is not None
    assert answer.headers["traceresponse"].split("-")[1] == CALLER[3:35]
    assert (served.all_spans(), served.exemplars(), served.seen[0]["query"]) == ([], set(), b"a=b")
    assert served.read().requests()[RequestKind("GET", "/items/{item}", 200)] == 1


def test_it_leaves_as_it_came(serving: Serving) -> None:
    """After `stop` no span is made and Starlette's background tasks are unpatched; `start` works once more."""
    original = BackgroundTask.__call__
    served = serving()
    assert served.contrib is not None
    assert BackgroundTask.__call__ is not original
    served.contrib.stop()
    assert BackgroundTask.__call__ is original
    served.ask(Asked("/items/1"))
    assert (served.all_spans(), len(served.app.user_middleware)) == ([], 1)
    tracers = TracerProvider(None, Resource({}), shutdown_on_exit=False)
    tracers.add_span_processor(served.spans)
    served.contrib.start(tracers)
    served.ask(Asked("/items/1"))
    served.contrib.stop()
    assert len(served.server_spans()) == 1


START = """
from fastapi import FastAPI
from opentelemetry.trace import NoOpTracerProvider
from sightline_telemetry.requests.fastapi_instrumentor import ContribTracing
ContribTracing(FastAPI()).start(NoOpTracerProvider())
"""


@pytest.mark.parametrize("chosen", ["default", "http/dup"])
def test_only_stable_conventions_will_do(chosen: str) -> None:
    """If the process uses other conventions, `start` raises an error that names the variable to set."""
    root = Path(__file__).parents[3]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment = {**clean, "OTEL_SEMCONV_STABILITY_OPT_IN": "" if chosen == "default" else chosen}
    done = subprocess.run(
        [sys.executable, "-c", START],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"({chosen}): set OTEL_SEMCONV_STABILITY_OPT_IN=http" in done.stderr
