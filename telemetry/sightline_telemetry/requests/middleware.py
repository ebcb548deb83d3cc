"""Measures every request of an ASGI application: its ids, its times, and one event at its end.

Attributes follow OpenTelemetry's stable HTTP semantic conventions. Query strings are left out, because they may
contain secrets. A value that a client sends becomes a label only if it is in a fixed set.
"""

from asyncio import get_running_loop
from collections.abc import Iterable, Mapping
from contextvars import Token
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter_ns
from typing import Protocol

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from sightline_telemetry.events.layout import (
    HAS_CALLER,
    HTTP_VERSION_CODES,
    IS_ASKED,
    IS_OVER_BUDGET,
    METHOD_CODES,
    NO_MODEL,
    NO_ROUTE,
    NO_SLOT,
    SCHEME_CODES,
    request_event,
)
from sightline_telemetry.events.slots import ANSWERED, SLOTS_FULL, SlotTable
from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.allowance import AskedSampler
from sightline_telemetry.requests.asgi import ASGIApp, Message, Receive, Scope, Send
from sightline_telemetry.requests.recording import N_SCHEMES, EventSink
from sightline_telemetry.requests.timeline import Caller, PredictionRecord, Timeline, parse_traceparent

TIMELINE = "sightline.timeline"
"""Key of the request's Timeline in its ASGI scope.

A server or an outer middleware may put a Timeline there before `begin` is called.
"""

_LOW_64 = 2**64 - 1
_NOWHERE = (None, None)
_NO_CONTEXT = SpanContext(0, 0, False)
_OTHER_METHOD = METHOD_CODES["_OTHER"]
_NOT_PREDICTED = PredictionRecord(NO_MODEL)


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


class TelemetryMiddleware:
    """Measures every HTTP request of an ASGI application: each leaves one event when it has ended.

    sink: takes the events. routes: the number of each route in the description of the service.
    asked: decides at the start of a request whether its trace is requested; None if no trace can be kept.
    """

    def __init__(
        self, app: ASGIApp, sink: EventSink, routes: Mapping[str, int], asked: AskedSampler | None, faults: Faults
    ) -> None:
        self._app = app
        self._write = sink.write
        self._active = sink.active
        self._slots = sink.slots
        self._answered: list[int] = []
        self._routes = routes
        self._asked = asked
        self._faults = faults

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
            if message["type"] == "http.response.body" and not message.get("more_body") and not timeline.end_ns:
                self.end(request, status)  # before the answer leaves: who has it finds it counted
            await send(message)

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
            self._decide(timeline)
        timeline.is_running = True
        method = METHOD_CODES.get(scope["method"], _OTHER_METHOD)
        scheme = SCHEME_CODES.get(scope["scheme"], 0)
        self._active[method * N_SCHEMES + scheme] += 1
        if self._slots is not None:
            timeline.slot = self._take_slot(self._slots, timeline, self._routes.get(scope["path"], NO_ROUTE), method)
        return RunningRequest(scope, timeline, method, scheme, attach(set_span_in_context(RequestSpan(timeline))))

    def leave(self, request: RunningRequest) -> None:
        """Removes the request's ids from the context; it no longer counts as running."""
        index = request.method * N_SCHEMES + request.scheme
        if self._active[index]:  # words of shared memory that were cleared must not fail a request
            self._active[index] -= 1
        if self._slots is not None:
            self._release_when_written(request.timeline.slot)
        request.timeline.is_running = False
        detach(request.token)

    def end(self, request: RunningRequest, status: int, error: str | None = None) -> None:
        """Writes the event of an ended request; status is 0 if no response was started."""
        timeline = request.timeline
        timeline.end_ns = perf_counter_ns()
        try:
            self._write(self._event(request, timeline, status, error))
            if self._slots is not None:
                self._slots.phase(timeline.slot, ANSWERED)
        except Exception:
            self._faults.note("middleware")

    def _take_slot(self, slots: SlotTable, timeline: Timeline, route: int, method: int) -> int:
        """Returns the slot of a request that begins; -1 if there is none, and the request runs without one."""
        high, low = timeline.trace_id >> 64, timeline.trace_id & _LOW_64
        try:
            slot = slots.take(high, low, timeline.span_id, timeline.unix_ns, timeline.start_ns, route, method)
        except Exception:
            self._faults.note("middleware")
            return -1
        if slot < 0:
            self._faults.lose(SLOTS_FULL)
        return slot

    def _release_when_written(self, slot: int) -> None:
        """Keeps the slot until the answer is written: servers join the writes of one turn of the event loop.

        Of a request whose answer was not written when its process died, other processes then know.
        """
        self._answered.append(slot)
        if len(self._answered) == 1:
            get_running_loop().call_soon(self._wait_a_turn)

    def _wait_a_turn(self) -> None:
        answered, self._answered = self._answered, []
        get_running_loop().call_soon(self._release_all, answered)

    def _release_all(self, slots: list[int]) -> None:
        assert self._slots is not None  # noqa: S101  # a slot was taken
        for slot in slots:
            self._slots.release(slot)

    def _decide(self, timeline: Timeline) -> None:
        caller, asked = timeline.caller, self._asked
        is_wanted = asked is not None and asked.is_asked(caller is not None and caller.is_sampled)
        timeline.is_asked = is_wanted and asked is not None and asked.take()
        timeline.is_over_budget = is_wanted and not timeline.is_asked

    def _event(self, request: RunningRequest, timeline: Timeline, status: int, error: str | None) -> bytes:
        scope, caller, prediction = request.scope, timeline.caller, timeline.prediction or _NOT_PREDICTED
        route = getattr(scope.get("route"), "path", "")
        number = self._routes.get(route, NO_ROUTE)
        version = scope.get("http_version", "1.1")
        version_code = HTTP_VERSION_CODES.get(version, 0)
        flags = prediction.flags
        if timeline.is_asked:
            flags |= IS_ASKED
        elif timeline.is_over_budget:
            flags |= IS_OVER_BUDGET
        if caller is not None:
            flags |= HAS_CALLER
        trace_id = timeline.trace_id
        fields = (
            flags,
            request.method,
            request.scheme,
            version_code,
            0 if caller is None else caller.flags,
            prediction.model,
            prediction.reason,
            status,
            number,
            timeline.slot & NO_SLOT,
            prediction.n_rows,
            prediction.batch_rows,
            prediction.batch,
            trace_id >> 64,
            trace_id & _LOW_64,
            timeline.span_id,
            0 if caller is None else caller.span_id,
            timeline.unix_ns,
            timeline.start_ns,
            timeline.end_ns,
            prediction.queued_ns,
        )
        texts = (
            scope["path"].encode("utf-8", "surrogateescape"),
            _user_agent(scope["headers"]),
            _address(*(scope.get("client") or _NOWHERE)),
            _address(*(scope.get("server") or _NOWHERE)),
            b"" if caller is None or not caller.tracestate else caller.tracestate.encode("latin-1"),
            prediction.prediction_id.encode(),
            b"" if error is None else error.encode(),
            scope["method"].encode() if request.method == _OTHER_METHOD else b"",
            route.encode() if number == NO_ROUTE and route else b"",
            version.encode() if not version_code else b"",
        )
        return request_event(fields, prediction.marks, texts, prediction.rows)


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
        return RunningRequest(scope, timeline, 0, 0, attach(set_span_in_context(RequestSpan(timeline))))

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


def _user_agent(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"user-agent":
            return value
    return b""


@lru_cache(maxsize=4096)
def _address(host: str | None, port: int | None) -> bytes:
    """Returns host and port, separated by a blank; a Unix socket has no port, and its client has no address."""
    return b"" if host is None else f"{host} {port}".encode() if port is not None else host.encode()
