"""A request that runs: its state, its span in OpenTelemetry's context, and what follows it to its end."""

from contextvars import Token
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from sightline_telemetry.requests.asgi import Scope
from sightline_telemetry.requests.timeline import Timeline

TIMELINE = "sightline.timeline"
"""Key of the request's Timeline in its ASGI scope.

A server or an outer middleware may put a Timeline there before `begin` is called.
"""

_NO_CONTEXT = SpanContext(0, 0, False)


class RequestSpan(NonRecordingSpan):
    """Represents the running request in OpenTelemetry's context; its SpanContext is built when first used."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(_NO_CONTEXT)
        self._timeline = timeline
        self._built: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Returns the ids of the server span; the flag is sampled only if the trace was requested at the start."""
        if self._built is None:
            line = self._timeline
            self._built = SpanContext(line.trace_id, line.span_id, False, TraceFlags(line.flags))
        return self._built


@dataclass(slots=True)  # not frozen: every request makes one
class RunningRequest:
    """Holds the state of a running request; token: restores the OpenTelemetry context from before the request."""

    scope: Scope
    timeline: Timeline
    method: int
    scheme: int
    token: "Token[Context]"


class RequestTelemetry(Protocol):
    """Follows each request from its beginning to its end; `leave` is always called last, also after an error."""

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request its ids, in its scope and in the context."""
        ...

    def end(self, request: RunningRequest, status: int, error: str | None = None) -> None:
        """Records the end of a request; status is 0 if no response was started."""
        ...

    def leave(self, request: RunningRequest) -> None:
        """Removes the request's ids from the context."""
        ...

    def release(self, slots: list[int]) -> None:
        """Frees the slots of requests whose answers are written."""
        ...
