"""A kept timeline becomes finished spans, handed to the span processor directly.

There is no sampler in the way: the decision is made. `ReadableSpan` is what the SDK's processors and
exporters take; limits on attributes are therefore ours.
"""

from collections.abc import Iterator, Sequence
from secrets import randbits

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from sightline_telemetry.export.gil_yield import GilYield, YieldingList
from sightline_telemetry.requests.timeline import (
    RANDOM,
    SAMPLED,
    AttributeValue,
    Caller,
    Segment,
    SpanAttributes,
    Timeline,
)

MAX_ATTRIBUTE_CHARS = 256
MAX_SEGMENTS = 64
"""A trace has at most so many segments on one level; a request cannot make the service pay for more."""

_SCOPE = InstrumentationScope("sightline")


class SpanWriter:
    """Turns kept timelines into spans of one resource and gives them to processors."""

    def __init__(self, resource: Resource, processors: tuple[SpanProcessor, ...]) -> None:
        self._resource = resource
        self._processors = processors

    def write(self, timeline: Timeline, name: str, attributes: SpanAttributes, *, has_failed: bool) -> None:
        """Writes the server span of an ended request and a span for each of its segments.

        Children go first, so that a reader that sees the server span sees the whole trace.
        """
        context = self.write_segments(timeline)
        parent, links = _relation_to(timeline.caller)
        self._hand_on(
            ReadableSpan(
                name=name,
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=_capped(attributes),
                links=links,
                kind=SpanKind.SERVER,
                status=Status(StatusCode.ERROR if has_failed else StatusCode.UNSET),
                start_time=timeline.unix(timeline.start_ns),
                end_time=timeline.unix(timeline.end_ns),
                instrumentation_scope=_SCOPE,
            )
        )

    def write_segments(self, timeline: Timeline) -> SpanContext:
        """Writes a span for each segment of an ended request, and returns the context of their server span."""
        context = _context(timeline.trace_id, timeline.span_id, timeline.caller)
        segments = tuple(timeline.segments()) if timeline.segments is not None else ()
        for span in self._children(timeline, context, segments):
            self._hand_on(span)
        return context

    def _children(
        self, timeline: Timeline, parent: SpanContext, segments: tuple[Segment, ...]
    ) -> Iterator[ReadableSpan]:
        for segment in segments[:MAX_SEGMENTS]:
            context = SpanContext(parent.trace_id, randbits(64) or 1, False, parent.trace_flags, parent.trace_state)
            yield from self._children(timeline, context, segment.children)
            yield ReadableSpan(
                name=segment.name,
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=_capped(segment.attributes),
                start_time=timeline.unix(segment.start_ns),
                end_time=timeline.unix(segment.end_ns),
                instrumentation_scope=_SCOPE,
            )

    def _hand_on(self, span: ReadableSpan) -> None:
        for processor in self._processors:
            processor.on_end(span)


class PacedSpanExporter(SpanExporter):
    """Exports as another exporter does, with breaks between spans, so that encoding many holds no request up."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends finished spans."""
        return self._exporter.export(YieldingList(spans, GilYield()))

    def shutdown(self) -> None:
        """Ends the other one."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits for what is on its way."""
        return self._exporter.force_flush(timeout_millis)


def _context(trace_id: int, span_id: int, caller: Caller | None) -> SpanContext:
    inherited = RANDOM if caller is None else caller.flags & RANDOM
    state = TraceState() if caller is None else _tracestate(caller)
    return SpanContext(trace_id, span_id, False, TraceFlags(SAMPLED | inherited), state)


def _relation_to(caller: Caller | None) -> tuple[SpanContext | None, tuple[Link, ...]]:
    """A caller that records its span is the parent; one that does not is linked, for its span does not exist."""
    if caller is None:
        return None, ()
    context = SpanContext(caller.trace_id, caller.span_id, True, TraceFlags(caller.flags), _tracestate(caller))
    return (context, ()) if caller.is_sampled else (None, (Link(context),))


def _tracestate(caller: Caller) -> TraceState:
    """The caller's `tracestate`, less a sampling threshold (`ot=th:`) that a late decision contradicts.

    Source: https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/
    """
    if not caller.tracestate:
        return TraceState()
    state = TraceState.from_header([caller.tracestate])
    ours = state.get("ot")
    if ours is None or caller.is_sampled:
        return state
    kept = ";".join(part for part in ours.split(";") if not part.startswith("th:"))
    return state.update("ot", kept) if kept else state.delete("ot")


def _capped(attributes: SpanAttributes) -> dict[str, AttributeValue]:
    return {key: value[:MAX_ATTRIBUTE_CHARS] if isinstance(value, str) else value for key, value in attributes.items()}
