"""Holds the last kept traces in memory and returns them as OTLP/JSON, for a process without a trace store."""

from collections import OrderedDict
from threading import Lock
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

MAX_SPANS = 256
"""Largest number of spans held per trace: a caller that always sends the same trace id must not fill the memory."""


class TraceRing(SpanProcessor):
    """Holds the spans of the last `capacity` traces and forgets the oldest."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._traces: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._lock = Lock()

    def on_end(self, span: ReadableSpan) -> None:
        """Adds a finished span to its trace."""
        context = span.get_span_context()
        if context is None:
            return
        with self._lock:
            spans = self._traces.setdefault(context.trace_id, [])
            if len(spans) < MAX_SPANS:
                spans.append(span)
            if len(self._traces) > self._capacity:
                self._traces.popitem(last=False)

    def holds(self, trace_id: int) -> bool:
        """Returns True if the trace is held."""
        return trace_id in self._traces

    def read(self, trace_id: int) -> dict[str, Any] | None:
        """Returns the trace as an OTLP/JSON `TracesData`, or None if it is not (or no longer) held.

        Ids are hexadecimal and enums are numbers, as https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
        requires; protobuf's own JSON encoder would write ids as base64.
        """
        with self._lock:
            spans = list(self._traces.get(trace_id, ()))
        if not spans:
            return None
        request = encode_spans(spans)
        traces: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
        encoded = (span for r in request.resource_spans for scope in r.scope_spans for span in scope.spans)
        shown = (span for r in traces["resourceSpans"] for scope in r["scopeSpans"] for span in scope["spans"])
        for message, span in zip(encoded, shown, strict=True):
            _write_ids(span, message)
            for link, linked in zip(message.links, span.get("links", ()), strict=True):
                _write_ids(linked, link)
        return traces


def _write_ids(shown: dict[str, Any], message: Any) -> None:
    for key, field in (("traceId", "trace_id"), ("spanId", "span_id"), ("parentSpanId", "parent_span_id")):
        if key in shown:
            shown[key] = getattr(message, field).hex()
