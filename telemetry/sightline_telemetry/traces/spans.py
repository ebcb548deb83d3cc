"""Converts kept requests to finished spans and passes them directly to the span processors.

The SDK's sampler is not used, because the trace is already known to be kept. The spans are `ReadableSpan`s, the type
that the SDK's processors and exporters take; the SDK does not limit their attributes, so this module does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import starmap
from secrets import randbits

import numpy as np
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.row_arrays import row_array
from sightline_telemetry.events.http_codes import METHODS
from sightline_telemetry.events.layout import HAS_CALLER, NO_MODEL, RequestEvent
from sightline_telemetry.instruments import CLIENT
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.requests.timeline import RANDOM, SAMPLED, AttributeValue, SpanAttributes
from sightline_telemetry.traces.lost import LostRequest

MAX_ATTRIBUTE_CHARS = 256
"""Unless OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT or OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise."""

MAX_SEGMENTS = 64
"""Largest number of segments written on one level of a trace, so that no request can make the service write more."""

_SCOPE = InstrumentationScope("sightline")


@dataclass(frozen=True, slots=True)
class Segment:
    """Describes a part of a request that becomes a span; start_ns and end_ns are Unix times."""

    name: str
    start_ns: int
    end_ns: int
    attributes: SpanAttributes = field(default_factory=dict)
    children: tuple["Segment", ...] = ()


class SpanWriter:
    """Writes kept requests as spans of one resource to the span processors.

    description: of the service that served them.
    """

    def __init__(self, resource: Resource, processors: tuple[SpanProcessor, ...], description: Description) -> None:
        self._resource = resource
        self._processors = processors
        self._description = description
        limits = SpanLimits()
        self._max_attributes = limits.max_span_attributes
        self._max_chars = limits.max_span_attribute_length or MAX_ATTRIBUTE_CHARS

    def write(self, event: RequestEvent, kind: RequestKind, reason: str) -> None:
        """Writes the server span of an ended request and a span for each of its segments.

        Children are written first, so that a reader that sees the server span sees the whole trace.
        """
        context = self.write_segments(event)
        parent, links = _relation_to(event)
        attributes = server_attributes(event, kind)
        attributes["sightline.kept"] = reason
        method = "HTTP" if kind.method == "_OTHER" else kind.method
        self._emit(
            ReadableSpan(
                name=f"{method} {kind.route}".rstrip(),
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=self._limited(attributes),
                links=links,
                kind=SpanKind.SERVER,
                status=Status(StatusCode.ERROR if kind.status >= 500 else StatusCode.UNSET),
                start_time=event.unix_ns,
                end_time=event.unix(event.end_ns),
                instrumentation_scope=_SCOPE,
            )
        )

    def write_lost(self, lost: LostRequest, signal_name: str) -> None:
        """Writes the span of a request that ended with its worker, as a failed trace."""
        request = lost.request
        attributes: dict[str, AttributeValue] = {
            "http.request.method": METHODS[request.method],
            "http.route": lost.route,
            "error.type": signal_name,
            "sightline.kept": "failed",
            "sightline.worker": lost.worker,
            "sightline.worker.was_predicting": lost.is_cause,
        }
        self._emit(
            ReadableSpan(
                name=lost.name,
                context=SpanContext(request.trace_id, request.span_id, False, TraceFlags(SAMPLED)),
                resource=self._resource,
                attributes=self._limited(attributes),
                kind=SpanKind.SERVER,
                status=Status(StatusCode.ERROR, f"{signal_name} ended worker {lost.worker}"),
                start_time=request.unix_ns,
                end_time=lost.end_unix_ns,
                instrumentation_scope=_SCOPE,
            )
        )

    def write_segments(self, event: RequestEvent) -> SpanContext:
        """Writes a span for each segment of an ended request, and returns the context of its server span."""
        context = _context(event)
        for span in self._children(context, segments(event, self._description)):
            self._emit(span)
        return context

    def _children(self, parent: SpanContext, parts: tuple[Segment, ...]) -> Iterator[ReadableSpan]:
        for segment in parts:
            context = SpanContext(parent.trace_id, randbits(64) or 1, False, parent.trace_flags, parent.trace_state)
            yield from self._children(context, segment.children)
            yield ReadableSpan(
                name=segment.name,
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=self._limited(segment.attributes),
                start_time=segment.start_ns,
                end_time=segment.end_ns,
                instrumentation_scope=_SCOPE,
            )

    def _limited(self, attributes: SpanAttributes) -> BoundedAttributes:
        """Returns attributes within the limits that OTEL_* variables set; of too many, the last ones are kept."""
        return BoundedAttributes(self._max_attributes, attributes, max_value_len=self._max_chars)

    def _emit(self, span: ReadableSpan) -> None:
        for processor in self._processors:
            processor.on_end(span)


def segments(event: RequestEvent, description: Description) -> tuple[Segment, ...]:
    """Returns `queue`, then `predict` with a child per step of the pipeline; nothing if no model was run."""
    if event.model == NO_MODEL or not event.marks:
        return ()
    model, marks = description.models[event.model], [event.unix(mark) for mark in event.marks]
    steps = tuple(starmap(Segment, zip(model.steps, marks, marks[1:], strict=False)))
    attributes: dict[str, AttributeValue] = {**model.id.attributes}
    if event.batch:
        attributes |= {
            "ml.batch.id": event.batch,
            "ml.batch.size": event.batch_rows,
            "ml.request.rows": event.n_rows,
        }
    if event.texts.prediction_id:
        attributes["ml.prediction.id"] = event.texts.prediction_id.decode()
    if event.batch and event.rows and model.row_layout.has_outcomes:
        outcomes = row_array(model, [event.rows])["outcome"]
        counted = zip(*np.unique(outcomes, return_counts=True), strict=True)
        attributes |= {f"ml.outcome.{model.profile.outcomes[code]}": int(count) for code, count in counted}
    predict = Segment("predict", marks[0], marks[-1], attributes, steps[:MAX_SEGMENTS])
    return Segment("queue", event.unix(event.queued_ns), marks[0]), predict


def server_attributes(event: RequestEvent, kind: RequestKind) -> dict[str, AttributeValue]:
    """Returns the attributes of a server span, named as in OpenTelemetry's own ASGI instrumentation."""
    texts = event.texts
    attributes: dict[str, AttributeValue] = {
        "http.request.method": kind.method,
        "url.scheme": kind.scheme,
        "url.path": _text(texts.path) if texts.path else kind.route,
        "network.protocol.version": _text(texts.http_version) if texts.http_version else kind.version,
    }
    if texts.method:
        attributes["http.request.method_original"] = _text(texts.method)
    for side, address in (("server", texts.server), ("client", texts.client)):
        host, _, port = address.decode().rpartition(" ")
        if host and port.isdigit():
            attributes[f"{side}.address"], attributes[f"{side}.port"] = host, int(port)
        elif address:  # the path of a Unix socket may have blanks
            attributes[f"{side}.address"] = address.decode()
    if kind.route:
        attributes["http.route"] = kind.route
    if kind.status:
        attributes["http.response.status_code"] = kind.status
    if kind.status >= 500 or not kind.status:
        attributes["error.type"] = texts.error.decode() or (str(kind.status) if kind.status else "cancelled")
    if texts.key:
        attributes[CLIENT] = _text(texts.key)
    if texts.user_agent:
        attributes["user_agent.original"] = _text(texts.user_agent)
    return attributes


def _text(value: bytes) -> str:
    """Decodes what a client sent as UTF-8, the usual encoding, or else as Latin-1, which accepts any bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _context(event: RequestEvent) -> SpanContext:
    has_caller = event.flags & HAS_CALLER
    inherited = event.caller_flags & RANDOM if has_caller else RANDOM
    state = _tracestate(event) if has_caller else TraceState()
    return SpanContext(event.trace_id, event.span_id, False, TraceFlags(SAMPLED | inherited), state)


def _relation_to(event: RequestEvent) -> tuple[SpanContext | None, tuple[Link, ...]]:
    """Returns the parent and the links of a server span.

    A caller that records its span is the parent. Otherwise that span does not exist, so the caller is only linked.
    """
    if not event.flags & HAS_CALLER:
        return None, ()
    flags = TraceFlags(event.caller_flags)
    context = SpanContext(event.trace_id, event.caller_span_id, True, flags, _tracestate(event))
    return (context, ()) if event.caller_flags & SAMPLED else (None, (Link(context),))


def _tracestate(event: RequestEvent) -> TraceState:
    """Returns the caller's `tracestate`, without a sampling threshold (`ot=th:`) that tail sampling contradicts.

    Source: https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/
    """
    if not event.texts.tracestate:
        return TraceState()
    state = TraceState.from_header([event.texts.tracestate.decode("latin-1")])
    otel_state = state.get("ot")
    if otel_state is None or event.caller_flags & SAMPLED:
        return state
    kept = ";".join(part for part in otel_state.split(";") if not part.startswith("th:"))
    return state.update("ot", kept) if kept else state.delete("ot")
