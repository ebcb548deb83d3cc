"""The last traces in memory: bounded, and written as OTLP/JSON."""

from opentelemetry.sdk.resources import Resource

from sightline_telemetry.counts.description import Description
from sightline_telemetry.events.layout import HAS_CALLER, RequestEvent
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.spans import SpanWriter
from sightline_telemetry.traces.trace_ring import MAX_SPANS, TraceRing
from tests.telemetry.serving import ENDED


def write(ring: TraceRing, event: RequestEvent) -> None:
    """Keeps the trace of an ended request."""
    SpanWriter(Resource({}), (ring,), Description(())).write(event, RequestKind("GET", "/", 200), "asked")


def called(trace_id: int, span_id: int, flags: int) -> RequestEvent:
    """The event of a request with a caller."""
    return ENDED._replace(flags=HAS_CALLER, trace_lo=trace_id, caller_span_id=span_id, caller_flags=flags)


def test_the_oldest_trace_is_forgotten() -> None:
    """Of 1,001 traces the first is dropped and the others are held."""
    ring = TraceRing()
    for trace_id in range(1, 1002):
        write(ring, called(trace_id, 5, 1))
    assert not ring.holds(1)
    assert ring.read(1) is None
    assert all(ring.holds(trace_id) for trace_id in range(2, 1002))


def test_one_trace_cannot_fill_the_memory() -> None:
    """A caller who sends one trace id for ever fills one trace, up to a limit."""
    ring = TraceRing()
    for _ in range(2 * MAX_SPANS):
        write(ring, called(9, 5, 1))
    trace = ring.read(9)
    assert trace is not None
    assert len(trace["resourceSpans"][0]["scopeSpans"][0]["spans"]) == MAX_SPANS


def test_ids_are_hexadecimal_and_enums_numbers() -> None:
    """OTLP/JSON: ids as hexadecimal digits, of links and parents too; kinds as numbers; times as strings."""
    ring = TraceRing()
    asked, refused = called(0xABC, 0xDEF, 1)._replace(span_id=0x123), called(0xABC, 0xDEF, 0)
    write(ring, asked)
    write(ring, refused)
    trace = ring.read(0xABC)
    assert trace is not None
    child, root = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (child["traceId"], child["spanId"]) == (f"{0xABC:032x}", f"{0x123:016x}")
    assert child["parentSpanId"] == f"{0xDEF:016x}"
    assert "parentSpanId" not in root
    assert root["links"][0]["spanId"] == f"{0xDEF:016x}"
    assert child["kind"] == 2
    assert int(child["endTimeUnixNano"]) >= int(child["startTimeUnixNano"]) > 10**18
