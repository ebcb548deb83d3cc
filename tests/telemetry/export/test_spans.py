"""Tests that a kept timeline becomes spans with the right parents and times, which OpenTelemetry's encoder accepts."""

from collections.abc import Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from sightline_telemetry.export.spans import MAX_ATTRIBUTE_CHARS, MAX_SEGMENTS, PacedSpanExporter, SpanWriter
from sightline_telemetry.requests.timeline import Caller, Segment, Timeline
from sightline_telemetry.testing import SpansInMemory


def written(timeline: Timeline, *, has_failed: bool = False, **attributes: str) -> list[ReadableSpan]:
    """The spans of an ended timeline, the server span last."""
    memory = SpansInMemory()
    timeline.end()
    SpanWriter(Resource({"service.name": "s"}), (memory,)).write(timeline, "GET /", attributes, has_failed=has_failed)
    return memory.spans


def context(span: ReadableSpan) -> SpanContext:
    """The span's context, which is there."""
    found = span.get_span_context()
    assert found is not None
    return found


def test_segments_are_children_in_their_times() -> None:
    """Segments hang below the server span and below each other, with the times that were marked."""
    line = Timeline()
    inner = Segment("step", line.start_ns + 300, line.start_ns + 400)
    line.segments = lambda: [
        Segment("queue", line.start_ns + 100, line.start_ns + 200),
        Segment("predict", line.start_ns + 200, line.start_ns + 500, {"rows": 3}, (inner,)),
    ]
    spans = {span.name: span for span in written(line)}
    server = spans["GET /"]
    assert (server.kind, server.parent, server.start_time) == (SpanKind.SERVER, None, line.unix_ns)
    assert {name: s.parent.span_id if s.parent else 0 for name, s in spans.items()} == {
        "queue": line.span_id,
        "step": context(spans["predict"]).span_id,
        "predict": line.span_id,
        "GET /": 0,
    }
    assert {context(span).trace_id for span in spans.values()} == {line.trace_id}
    assert (spans["step"].start_time, spans["step"].end_time) == (line.unix_ns + 300, line.unix_ns + 400)
    assert dict(spans["predict"].attributes or {}) == {"rows": 3}
    assert len(encode_spans(list(spans.values())).resource_spans[0].scope_spans[0].spans) == 4


def test_a_sampled_caller_is_the_parent() -> None:
    """A caller that records its span is the parent, remote, in the same trace."""
    (server,) = written(Timeline(Caller(7, 8, 1)))
    assert server.parent is not None
    assert (server.parent.trace_id, server.parent.span_id, server.parent.is_remote) == (7, 8, True)
    assert not server.links


def test_a_caller_that_said_no_is_linked() -> None:
    """A caller without a span of its own is linked from a root span under the same trace id."""
    (server,) = written(Timeline(Caller(7, 8, 0)), has_failed=True)
    assert (server.parent, context(server).trace_id) == (None, 7)
    assert [(link.context.trace_id, link.context.span_id) for link in server.links] == [(7, 8)]
    assert server.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(("flags", "random"), [(0, 0), (2, 2), (3, 2)])
def test_a_kept_span_is_sampled_and_keeps_the_random_flag(flags: int, random: int) -> None:
    """Whatever the caller said, a kept span is sampled; the random flag is the caller's, or ours without one."""
    assert context(written(Timeline(Caller(7, 8, flags)))[0]).trace_flags == 1 | random
    assert context(written(Timeline())[0]).trace_flags == 3


@pytest.mark.parametrize(
    ("flags", "state", "kept"),
    [
        (0, "ot=th:c;rv:1234,v=1", {"ot": "rv:1234", "v": "1"}),
        (0, "ot=th:c,v=1", {"v": "1"}),
        (1, "ot=th:c,v=1", {"ot": "th:c", "v": "1"}),
        (0, "v=1", {"v": "1"}),
    ],
)
def test_a_threshold_that_we_contradict_is_dropped(flags: int, state: str, kept: dict[str, str]) -> None:
    """`ot=th:` of a caller that said no does not travel with a span that is kept all the same."""
    (server,) = written(Timeline(Caller(7, 8, flags, state)))
    assert dict(context(server).trace_state.items()) == kept


def test_a_request_cannot_make_a_trace_large() -> None:
    """Long attributes are cut, and so are segments beyond the limit."""
    line = Timeline()
    line.segments = lambda: (Segment("s", line.start_ns, line.start_ns) for _ in range(1000))
    spans = written(line, path="x" * 10_000)
    assert len(spans) == MAX_SEGMENTS + 1
    assert (spans[-1].attributes or {})["path"] == "x" * MAX_ATTRIBUTE_CHARS


def test_an_export_takes_breaks_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the spans of an export gets all of them, with a break whenever half a millisecond has passed."""
    breaks: list[float] = []
    monkeypatch.setattr("sightline_telemetry.export.gil_yield.sleep", breaks.append)
    spans, memory = written(Timeline()) * 400, InMemorySpanExporter()

    class Encoding(InMemorySpanExporter):
        """Encodes, which takes time."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            encode_spans(spans)
            return memory.export(spans)

    assert PacedSpanExporter(Encoding()).export(spans) is SpanExportResult.SUCCESS
    assert list(memory.get_finished_spans()) == spans
    assert len(breaks) >= 2
