"""Ids by the W3C's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sightline_telemetry.requests.timeline import RANDOM, SAMPLED, Caller, Timeline, parse_traceparent

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEX = st.text("0123456789abcdefABCDEF", min_size=1, max_size=33)
HEADERS = st.one_of(
    st.builds("-".join, st.tuples(st.sampled_from(["00", "01", "cc", "ff", "0"]), HEX, HEX, HEX)),
    st.builds(lambda i, c: VALID[:i] + c + VALID[i + 1 :], st.integers(0, 54), st.characters(max_codepoint=126)),
    st.builds(lambda end: VALID + end, st.sampled_from(["", "-", "-00", "00", " ", "-what"])),
    st.builds(lambda end: "01" + VALID[2:] + end, st.sampled_from(["", "-", "-00", "-what"])),
)


def oracle(header: str) -> tuple[int, int, int] | None:
    """Trace id, span id and flags as OpenTelemetry's own propagator reads them."""
    context = TraceContextTextMapPropagator().extract({"traceparent": header})
    span = trace.get_current_span(context).get_span_context()
    return (span.trace_id, span.span_id, int(span.trace_flags)) if span.is_valid else None


@given(HEADERS)
def test_traceparent_is_read_as_opentelemetry_reads_it(header: str) -> None:
    """A header means to us what it means to OpenTelemetry's propagator, valid or not."""
    caller = parse_traceparent(header.encode())
    assert (None if caller is None else (caller.trace_id, caller.span_id, caller.flags)) == oracle(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        VALID.replace("00-", "ff-", 1),
        VALID.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        VALID.upper(),
    ],
)
def test_headers_to_be_ignored(header: str) -> None:
    """Empty and short headers, version ff, ids of zeros and upper case are ignored."""
    assert parse_traceparent(header.encode()) is None


def test_a_new_timeline_has_ids_of_its_own() -> None:
    """Without a caller the trace id is random, which its flags show, and is not sampled."""
    lines = [Timeline() for _ in range(100)]
    assert len({line.trace_id for line in lines}) == len({line.span_id for line in lines}) == 100
    assert {line.flags for line in lines} == {RANDOM}
    assert lines[0].traceresponse() == f"00-{lines[0].trace_id_hex}-{lines[0].span_id:016x}-02".encode()


def test_a_callers_trace_is_continued() -> None:
    """The trace id is the caller's, the span id is new, and only a requested trace is sampled."""
    line = Timeline(Caller(7, 8, SAMPLED))
    assert (line.trace_id, line.flags) == (7, 0)
    assert line.span_id != 8
    line.is_asked = True
    assert line.flags == SAMPLED
