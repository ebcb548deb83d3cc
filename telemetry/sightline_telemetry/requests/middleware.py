"""Measures every request of an ASGI application: its golden signals, its ids and its timeline.

Attributes follow OpenTelemetry's stable HTTP semantic conventions. Query strings are left out, because they may
contain secrets. A value that a client sends becomes a label only if it is in a fixed set.
"""

from collections.abc import Iterable, Mapping
from contextvars import Token
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from sightline_telemetry.faults import Faults
from sightline_telemetry.model.counts import Exemplar
from sightline_telemetry.requests.asgi import ASGIApp, Message, Receive, Scope, Send
from sightline_telemetry.requests.golden_signals import GoldenSignals, RequestKind
from sightline_telemetry.requests.logs import RequestLog
from sightline_telemetry.requests.tail_sampling import Reason, TailSampler
from sightline_telemetry.requests.timeline import AttributeValue, Caller, SpanAttributes, Timeline, parse_traceparent

TIMELINE = "sightline.timeline"
"""Key of the request's Timeline in its ASGI scope.

A server or an outer middleware may put a Timeline there before `begin` is called.
"""

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_SCHEMES = frozenset({"http", "https"})
_VERSIONS = frozenset({"1.0", "1.1", "2", "3"})
_NO_CONTEXT = SpanContext(0, 0, False)


class TraceWriter(Protocol):
    """Writes kept timelines, as `sightline_telemetry.export.spans.SpanWriter` does."""

    def write(self, timeline: Timeline, name: str, attributes: SpanAttributes, *, has_failed: bool) -> None:
        """Writes the spans of an ended request."""


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
    method: str
    scheme: str
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


class TelemetryMiddleware:
    """Measures every HTTP request of an ASGI application, and decides at its end whether its trace is kept.

    writer: writes kept traces; with None no trace is kept and there are no exemplars, which would point to no trace.
    log: writes a line per request; None for no log.
    """

    def __init__(
        self,
        app: ASGIApp,
        signals: GoldenSignals,
        sampler: TailSampler,
        writer: TraceWriter | None,
        faults: Faults,
        log: RequestLog | None = None,
    ) -> None:
        self._app = app
        self._signals = signals
        self._sampler = sampler
        self._writer = writer
        self._faults = faults
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request; other scopes pass through unmeasured."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = self.begin(scope)
        timeline = request.timeline
        status = 0

        async def send_and_mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"traceresponse", timeline.traceresponse())]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body") and not timeline.end_ns:
                self.end(request, status)

        try:
            await self._app(scope, receive, send_and_mark)
        except Exception as error:
            if not timeline.end_ns:  # the server or an outer middleware answers 500
                self.end(request, status or 500, type(error).__qualname__)
            raise
        finally:
            if not timeline.end_ns:  # the request was cancelled, or the response is incomplete
                self.end(request, status)
            self.leave(request)

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request its ids, in its scope and in the context; it counts as running from now on."""
        timeline: Timeline | None = scope.get(TIMELINE)
        if timeline is None or timeline.is_running:  # an app may be mounted within another
            timeline = scope[TIMELINE] = Timeline(read_caller(scope["headers"]))
        if timeline.is_asked is None:
            caller = timeline.caller
            is_kept = self._writer is not None
            timeline.is_asked = is_kept and self._sampler.wants(caller is not None and caller.is_sampled)
        timeline.is_running = True
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        scheme = scope["scheme"] if scope["scheme"] in _SCHEMES else "http"
        active, running = self._signals.active, (method, scheme)
        active[running] = active.get(running, 0) + 1
        return RunningRequest(scope, timeline, method, scheme, attach(set_span_in_context(RequestSpan(timeline))))

    def leave(self, request: RunningRequest) -> None:
        """Removes the request's ids from the context; it no longer counts as running."""
        self._signals.active[request.method, request.scheme] -= 1
        request.timeline.is_running = False
        detach(request.token)

    def end(self, request: RunningRequest, status: int, error: str | None = None) -> None:
        """Counts an ended request, and decides whether its trace is kept; status is 0 if no response was started."""
        timeline = request.timeline
        duration_s = timeline.end()
        try:
            scope = request.scope
            route, version = getattr(scope.get("route"), "path", ""), scope.get("http_version", "1.1")
            kind = request.method, route, status, request.scheme, version if version in _VERSIONS else "other"
            series = self._signals.series(kind)
            bucket = series.add(duration_s)
            reason = None
            if self._writer is not None:
                reason = self._sampler.decide(
                    route,
                    duration_s,
                    is_asked=bool(timeline.is_asked),
                    has_failed=status
                    >= 500,  # a client that disconnects is no failure, and must not use up the allowance for failures
                    needs_exemplar=series.needs_exemplar(bucket),
                )
            if self._log is not None:
                self._log.note(kind, timeline, reason)
            if reason is not None:
                self._keep(scope, timeline, RequestKind(*kind), reason, error)
                ended_ns = timeline.unix(timeline.end_ns)
                series.offer(bucket, Exemplar(duration_s, ended_ns, timeline.trace_id, timeline.span_id))
        except Exception:
            self._faults.note("middleware")

    def _keep(self, scope: Scope, timeline: Timeline, kind: RequestKind, reason: Reason, error: str | None) -> None:
        assert self._writer is not None  # noqa: S101  # there is a reason only with a writer
        attributes = _server_attributes(scope, kind.method, kind.route, kind.status, error)
        attributes["sightline.kept"] = reason.value
        name = f"{kind.method if kind.method in _METHODS else 'HTTP'} {kind.route}".rstrip()
        self._writer.write(timeline, name, attributes, has_failed=kind.status >= 500)


class IdsMiddleware:
    """Gives every HTTP request its ids without measuring it; used when the telemetry is switched off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request; other scopes pass through unmeasured."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = self.begin(scope)

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                ids = (b"traceresponse", request.timeline.traceresponse())
                message["headers"] = [*message.get("headers", ()), ids]
            await send(message)

        try:
            await self._app(scope, receive, send_with_ids)
        finally:
            self.leave(request)

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request its ids, in its scope and in the context."""
        timeline: Timeline | None = scope.get(TIMELINE)
        if timeline is None or timeline.is_running:  # an app may be mounted within another
            timeline = scope[TIMELINE] = Timeline(read_caller(scope["headers"]))
        timeline.is_running = True
        return RunningRequest(scope, timeline, "", "", attach(set_span_in_context(RequestSpan(timeline))))

    def end(self, request: RunningRequest, status: int, error: str | None = None) -> None:
        """Does nothing: no request is counted."""

    def leave(self, request: RunningRequest) -> None:
        """Removes the request's ids from the context."""
        request.timeline.is_running = False
        detach(request.token)


def read_caller(headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
    """Reads the caller's ids from the headers of a request; returns None if there are none."""
    traceparent, tracestate = None, b""
    for name, value in headers:
        if name == b"traceparent":
            traceparent = value
        elif name == b"tracestate":
            tracestate = tracestate + b"," + value if tracestate else value
    return parse_traceparent(traceparent, tracestate) if traceparent is not None else None


def _server_attributes(
    scope: Mapping[str, Any], method: str, route: str, status: int, error: str | None
) -> dict[str, AttributeValue]:
    """Returns the attributes of a server span, named as in OpenTelemetry's own ASGI instrumentation."""
    attributes: dict[str, AttributeValue] = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "network.protocol.version": scope.get("http_version", ""),
    }
    if method == "_OTHER":
        attributes["http.request.method_original"] = scope["method"]
    for side in ("server", "client"):
        address, port = scope.get(side) or (None, None)  # a Unix socket has no port, and its client has no address
        if address is not None:
            attributes[f"{side}.address"] = address
        if port is not None:
            attributes[f"{side}.port"] = port
    if route:
        attributes["http.route"] = route
    if status:
        attributes["http.response.status_code"] = status
    if status >= 500 or not status:
        attributes["error.type"] = error or (str(status) if status else "cancelled")
    for name, value in scope["headers"]:
        if name == b"user-agent":
            attributes["user_agent.original"] = _text(value)
    return attributes


def _text(header: bytes) -> str:
    """Decodes a header's value as UTF-8, the usual encoding, or else as Latin-1, which accepts any bytes."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")
