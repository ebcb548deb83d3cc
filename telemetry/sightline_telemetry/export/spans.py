"""Converts kept timelines to finished spans and passes them directly to the span processors.

The SDK's sampler is not used, because the trace is already known to be kept. The spans are `ReadableSpan`s, the type
that the SDK's processors and exporters take; the SDK does not limit their attributes, so this module does.
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
"""Largest number of segments written on one level of a trace, so that no request can make the service write more."""

_SCOPE = InstrumentationScope("sightline")


class SpanWriter:
    """Writes kept timelines as spans of one resource to the span processors."""

    def __init__(self, resource: Resource, processors: tuple[SpanProcessor, ...]) -> None:
        self._resource = resource
        self._processors = processors

    def write(self, timeline: Timeline, name: str, attributes: SpanAttributes, *, has_failed: bool) -> None:
        """Writes the server span of an ended request and a span for each of its segments.

        Children are written first, so that a reader that sees the server span sees the whole trace.
        """
        context = self.write_segments(timeline)
        parent, links = _relation_to(timeline.caller)
        self._emit(
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
        """Writes a span for each segment of an ended request, and returns the context of its server span."""
        context = _context(timeline.trace_id, timeline.span_id, timeline.caller)
        segments = tuple(timeline.segments()) if timeline.segments is not None else ()
        for span in self._children(timeline, context, segments):
            self._emit(span)
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

    def _emit(self, span: ReadableSpan) -> None:
        for processor in self._processors:
            processor.on_end(span)


class PacedSpanExporter(SpanExporter):
    """Exports through another exporter, with breaks between spans, so that encoding many spans delays no request."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends finished spans."""
        return self._exporter.export(YieldingList(spans, GilYield()))

    def shutdown(self) -> None:
        """Shuts the other exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until the other exporter has sent its pending spans; returns False on timeout."""
        return self._exporter.force_flush(timeout_millis)


def _context(trace_id: int, span_id: int, caller: Caller | None) -> SpanContext:
    inherited = RANDOM if caller is None else caller.flags & RANDOM
    state = TraceState() if caller is None else _tracestate(caller)
    return SpanContext(trace_id, span_id, False, TraceFlags(SAMPLED | inherited), state)


def _relation_to(caller: Caller | None) -> tuple[SpanContext | None, tuple[Link, ...]]:
    """Returns the parent and the links of a server span.

    A caller that records its span is the parent. Otherwise that span does not exist, so the caller is only linked.
    """
    if caller is None:
        return None, ()
    context = SpanContext(caller.trace_id, caller.span_id, True, TraceFlags(caller.flags), _tracestate(caller))
    return (context, ()) if caller.is_sampled else (None, (Link(context),))


def _tracestate(caller: Caller) -> TraceState:
    """Returns the caller's `tracestate`, without a sampling threshold (`ot=th:`) that tail sampling contradicts.

    Source: https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/
    """
    if not caller.tracestate:
        return TraceState()
    state = TraceState.from_header([caller.tracestate])
    otel_state = state.get("ot")
    if otel_state is None or caller.is_sampled:
        return state
    kept = ";".join(part for part in otel_state.split(";") if not part.startswith("th:"))
    return state.update("ot", kept) if kept else state.delete("ot")


def _capped(attributes: SpanAttributes) -> dict[str, AttributeValue]:
    return {key: value[:MAX_ATTRIBUTE_CHARS] if isinstance(value, str) else value for key, value in attributes.items()}
