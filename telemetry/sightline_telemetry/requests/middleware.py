"""Measures every request of an ASGI application: its ids, its times, and one event at its end.

Attributes follow OpenTelemetry's stable HTTP semantic conventions. Query strings are left out, because they may
contain secrets. A value that a client sends becomes a label only if it is in a fixed set.
"""

from asyncio import get_running_loop
from collections.abc import Iterable, Mapping
from functools import lru_cache
from time import perf_counter_ns

from opentelemetry.context import attach, detach
from opentelemetry.trace import set_span_in_context

from sightline_telemetry.events.http_codes import HTTP_VERSION_CODES, METHOD_CODES, SCHEME_CODES
from sightline_telemetry.events.layout import (
    HAS_CALLER,
    IS_ASKED,
    IS_OVER_BUDGET,
    MAX_TEXT_BYTES,
    NO_MODEL,
    NO_ROUTE,
    NO_SLOT,
    VERSION,
    cut,
    write_request,
)
from sightline_telemetry.events.slots import ANSWERED, SLOTS_FULL, SlotTable
from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.allowance import AskedSampler
from sightline_telemetry.requests.asgi import ASGIApp, Message, Receive, Scope, Send
from sightline_telemetry.requests.propagation import read_caller
from sightline_telemetry.requests.recording import N_SCHEMES, EventSink
from sightline_telemetry.requests.running import TIMELINE, RequestSpan, RunningRequest
from sightline_telemetry.requests.timeline import Caller, PredictionRecord, Timeline

WHEN_WRITTEN = "sightline.when_written"
"""Key in the ASGI scope of what a server may offer: called with the slot of an answered request, and with `release`.

It calls `release` with the slots of the requests whose answers their clients have taken, or whose connection is lost.
"""

_LOW_64 = 2**64 - 1
_NOWHERE = (None, None)
_OTHER_METHOD = METHOD_CODES["_OTHER"]
_NO_RARE_TEXTS = (b"",) * 5
_NOT_PREDICTED = PredictionRecord(NO_MODEL)


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
        self._written: list[int] = []
        self._is_turning = False
        self._routes = routes
        self._asked = asked
        self._share = 0.0 if asked is None else asked.share
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
            if timeline.slot >= 0:
                keep_slot = scope.get(WHEN_WRITTEN)
                if keep_slot is None:
                    self._release_when_written(timeline.slot)
                else:
                    keep_slot(timeline.slot, self.release)

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request its ids, in its scope and in the context; it counts as running from now on."""
        timeline: Timeline | None = scope.get(TIMELINE)
        if timeline is None or timeline.is_running:  # an app may be mounted within another
            timeline = scope[TIMELINE] = Timeline(read_caller(scope["headers"]))
        if timeline.is_asked is None:
            if timeline.caller is None and not self._share:
                timeline.is_asked = False
            else:
                self._decide(timeline)
        timeline.is_running = True
        method = METHOD_CODES.get(scope["method"], _OTHER_METHOD)
        scheme = SCHEME_CODES.get(scope["scheme"], 0)
        self._active[method * N_SCHEMES + scheme] += 1
        if self._slots is not None:
            self._take_slot(self._slots, timeline, self._routes.get(scope["path"], NO_ROUTE), method)
        return RunningRequest(scope, timeline, method, scheme, attach(set_span_in_context(RequestSpan(timeline))))

    def leave(self, request: RunningRequest) -> None:
        """Removes the request's ids from the context; it no longer counts as running."""
        index = request.method * N_SCHEMES + request.scheme
        if self._active[index]:  # words of shared memory that were cleared must not fail a request
            self._active[index] -= 1
        request.timeline.is_running = False
        detach(request.token)

    def release(self, slots: list[int]) -> None:
        """Frees the slots of requests whose answers are written."""
        if self._slots is not None:
            for slot in slots:
                self._slots.release(slot)

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

    def _take_slot(self, slots: SlotTable, timeline: Timeline, route: int, method: int) -> None:
        """Gives a request that begins a slot; if there is none, it runs without one."""
        ids = timeline.trace_id
        try:
            timeline.slot = slots.take(
                ids >> 64, ids & _LOW_64, timeline.span_id, timeline.unix_ns, timeline.start_ns, route, method
            )
        except Exception:
            timeline.slot = -1  # it may be that of an earlier attempt, which is free again
            self._faults.note("middleware")
            return
        if timeline.slot < 0:
            self._faults.lose(SLOTS_FULL)

    def _release_when_written(self, slot: int) -> None:
        """Keeps the slot until the answer is written, at most two turns of the event loop later.

        Servers join the writes of one turn. Of a request whose answer was not written when its process died, other
        processes then know.
        """
        self._answered.append(slot)
        if not self._is_turning:
            self._is_turning = True
            get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        written, self._written, self._answered = self._written, self._answered, []
        self.release(written)
        if self._written:
            get_running_loop().call_soon(self._turn)
        else:
            self._is_turning = False

    def _decide(self, timeline: Timeline) -> None:
        caller, asked = timeline.caller, self._asked
        timeline.is_asked = False
        if asked is not None:
            is_wanted = asked.is_asked(caller is not None and caller.is_sampled)
            timeline.is_asked = is_wanted and asked.take()
            timeline.is_over_budget = is_wanted and not timeline.is_asked

    def _event(self, request: RunningRequest, timeline: Timeline, status: int, error: str | None) -> bytes:
        scope, caller = request.scope, timeline.caller
        model, reason, n_rows, batch_rows, batch, queued_ns, marks, prediction_id, rows, flags = (
            timeline.prediction or _NOT_PREDICTED
        )
        route, path = getattr(scope.get("route"), "path", ""), scope["path"]
        number = self._routes.get(route, NO_ROUTE)
        version = HTTP_VERSION_CODES.get(scope.get("http_version", "1.1"), 0)
        if timeline.is_asked:
            flags |= IS_ASKED
        elif timeline.is_over_budget:
            flags |= IS_OVER_BUDGET
        caller_flags = caller_span_id = 0
        if caller is not None:
            flags |= HAS_CALLER
            caller_flags, caller_span_id = caller.flags, caller.span_id
        is_usual = caller is None and error is None and number != NO_ROUTE and version and request.method
        ids = timeline.trace_id
        return write_request(
            (
                VERSION,
                flags,
                request.method,
                request.scheme,
                version,
                caller_flags,
                model,
                reason,
                status,
                number,
                timeline.slot & NO_SLOT,
                n_rows,
                batch_rows,
                batch,
                ids >> 64,
                ids & _LOW_64,
                timeline.span_id,
                caller_span_id,
                timeline.unix_ns,
                timeline.start_ns,
                timeline.end_ns,
                queued_ns,
                marks,
                (
                    b"" if path == route else cut(path.encode("utf-8", "surrogateescape")),
                    _user_agent(scope["headers"]),
                    _address(*(scope.get("client") or _NOWHERE)),
                    _address(*(scope.get("server") or _NOWHERE)),
                    prediction_id.encode(),
                    *(() if is_usual else _rare_texts(request, caller, error, route if number == NO_ROUTE else "")),
                    *(() if not timeline.client else (*(_NO_RARE_TEXTS if is_usual else ()), timeline.client)),
                ),
                rows,
            )
        )


def _rare_texts(request: RunningRequest, caller: Caller | None, error: str | None, route: str) -> list[bytes]:
    """Returns the last texts of an event; the numbers of most requests say all of it."""
    scope = request.scope
    version = scope.get("http_version", "1.1")
    texts = (
        b"" if caller is None else caller.tracestate.encode("latin-1"),
        b"" if error is None else error.encode(),
        scope["method"].encode() if request.method == _OTHER_METHOD else b"",
        route.encode(),
        b"" if version in HTTP_VERSION_CODES else version.encode(),
    )
    return [*map(cut, texts)]


def _user_agent(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"user-agent":
            return value if len(value) <= MAX_TEXT_BYTES else cut(value)
    return b""


@lru_cache(maxsize=4096)
def _address(host: str | None, port: int | None) -> bytes:
    """Returns host and port, separated by a blank; a Unix socket has no port, and its client has no address."""
    return b"" if host is None else f"{host} {port}".encode() if port is not None else host.encode()
