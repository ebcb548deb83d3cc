"""The last traces in memory: bounded, and written as OTLP/JSON."""

from opentelemetry.sdk.resources import Resource

from sightline_telemetry.export.spans import SpanWriter
from sightline_telemetry.export.trace_ring import MAX_SPANS, TraceRing
from sightline_telemetry.requests.timeline import Caller, Timeline


def write(ring: TraceRing, line: Timeline) -> None:
    """Ends a timeline and keeps its trace."""
    line.end()
    SpanWriter(Resource({}), (ring,)).write(line, "GET /", {"n": 1}, has_failed=False)


def test_the_oldest_trace_is_forgotten() -> None:
    """Of 1,001 traces the first is dropped and the others are held."""
    ring = TraceRing()
    for trace_id in range(1, 1002):
        write(ring, Timeline(Caller(trace_id, 5, 1)))
    assert not ring.holds(1)
    assert ring.read(1) is None
    assert all(ring.holds(trace_id) for trace_id in range(2, 1002))


def test_one_trace_cannot_fill_the_memory() -> None:
    """A caller who sends one trace id for ever fills one trace, up to a limit."""
    ring = TraceRing()
    for _ in range(2 * MAX_SPANS):
        write(ring, Timeline(Caller(9, 5, 1)))
    trace = ring.read(9)
    assert trace is not None
    assert len(trace["resourceSpans"][0]["scopeSpans"][0]["spans"]) == MAX_SPANS


def test_ids_are_hexadecimal_and_enums_numbers() -> None:
    """OTLP/JSON: ids as hexadecimal digits, of links and parents too; kinds as numbers; times as strings."""
    ring = TraceRing()
    asked, refused = Timeline(Caller(0xABC, 0xDEF, 1)), Timeline(Caller(0xABC, 0xDEF, 0))
    write(ring, asked)
    write(ring, refused)
    trace = ring.read(0xABC)
    assert trace is not None
    child, root = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (child["traceId"], child["spanId"]) == (f"{0xABC:032x}", f"{asked.span_id:016x}")
    assert child["parentSpanId"] == f"{0xDEF:016x}"
    assert "parentSpanId" not in root
    assert root["links"][0]["spanId"] == f"{0xDEF:016x}"
    assert child["kind"] == 2
    assert int(child["endTimeUnixNano"]) >= int(child["startTimeUnixNano"]) > 10**18
