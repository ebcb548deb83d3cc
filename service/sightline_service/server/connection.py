"""A client's connection: how it begins, what it waits for, and how it ends, within the bounds of its worker."""

import asyncio
from time import monotonic
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sightline_service.errors import ConnectionRefusal, SlowBodyError
from sightline_service.server.asgi_bypass import BypassApp
from sightline_service.server.bounds import Bounds
from sightline_service.server.connections import Connections
from sightline_service.server.deadlines import Deadlines, Phase
from sightline_service.server.joined_writes import CoalescingTransport, WriteBatch
from sightline_service.server.refusals import refusal_bytes

IDLE, HEAD, BODY, ANSWERING, DRAINING, LINGERING = list(Phase)[:6]

MAX_DISCARDED = 64 << 20
"""Bytes that are discarded at most so that a client which still sends gets to read its answer."""

FREE_BODY_BYTES = 16_384
"""So much of each body is not counted among the open ones: small requests are served while others hold large ones."""


class HeldFlow(FlowControl):
    """Flow control that resumes reading only if nothing that was read waits. is_held: something does."""

    is_held = False

    def resume_reading(self) -> None:
        """Reads again, unless bytes or requests of the last read wait."""
        if not self.is_held:
            super().resume_reading()


class ClientConnection(HttpToolsProtocol):
    """uvicorn's protocol, with deadlines and an end that lets the client read its last answer.

    The bounds are those of its app; those by default before an app of others.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app_of_ours = find_bypass_app(self.config.loaded_app)
        ours = self.app_of_ours
        self.connections_of_worker = ours.connections if ours is not None else Connections(Bounds())
        self.bounds = self.connections_of_worker.bounds
        self.deadlines: Deadlines
        self.phase = IDLE
        self._n_body = self._n_open = self._n_discarded = 0
        self._rest = b""
        """Bytes behind a request without an answer, not parsed yet."""
        self._refusal: ConnectionRefusal | None = None
        """What is answered after the requests before it."""
        self._is_half_closed = self._is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begins a connection, whose writes are joined; without room it ends at once."""
        writes = self.app_of_ours.writes if self.app_of_ours is not None else WriteBatch()
        self.coalescing = CoalescingTransport(transport, self.loop, writes)
        self.coalescing.is_kept_open = self._linger_if_sent
        super().connection_made(self.coalescing)  # type: ignore[arg-type]
        self.flow: HeldFlow = HeldFlow(transport)
        self.deadlines = Deadlines(monotonic())
        # An answer counts as taken when nothing of it is left here; TLS would pause at 0 even if nothing waits.
        transport.set_write_buffer_limits(high=1 if self.scheme == "https" else 0, low=0)
        if not self.connections_of_worker.admit(self, self.loop):
            self.phase = LINGERING
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends a connection, and gives back what it held."""
        self.connections_of_worker.remove(self)
        self._rest = b""
        self._count_open(0)
        self.pipeline.clear()
        super().connection_lost(exc)
        self.coalescing.is_kept_open = bool
        self.coalescing.lost()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keeps a connection open whose client has sent all and waits for answers."""
        is_waited_for = self._rest or (self.phase not in (BODY, LINGERING) and self.is_answering())
        if self.scheme == "https" or not is_waited_for:
            self.coalescing.flush()
            return None
        self._is_half_closed = True
        return True

    def pause_writing(self) -> None:
        """Notes that the client has not taken all that was written."""
        self.coalescing.is_full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """Goes on once the client has taken all that was written."""
        self.coalescing.emptied()
        super().resume_writing()
        if self._rest and not self.is_answering():
            self.go_on_soon()

    def go_on_soon(self) -> None:
        """Goes on with what waits in a later turn of the event loop."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Ends the server soon."""
        if self.phase == LINGERING:
            self.end()
        else:
            super().shutdown()

    def check(self, now_s: float) -> None:
        """Ends the connection if it has waited for its client for too long."""
        phase, n_bytes = self.phase, 0
        if self.is_unread:
            phase, n_bytes = Phase.UNREAD, self.coalescing.get_write_buffer_size()
        elif phase == BODY:
            n_bytes = self.body_bytes()
            if self.flow.read_paused:
                phase = ANSWERING  # the app waits for itself
        elif phase <= HEAD and self.is_answering():
            phase = ANSWERING
        reason = self.deadlines.overdue(phase, self.scope, n_bytes, now_s, self.bounds)
        if reason == "body_time" and phase == BODY:
            self.refuse(SlowBodyError("the body stands still, or comes too slowly; send the request again"))
        elif reason:
            self.end("" if phase == LINGERING else reason)

    @property
    def is_unread(self) -> bool:
        """Returns True if the client has not taken all that was written."""
        return self.coalescing.is_full

    def is_answering(self) -> bool:
        """Returns True while a request that was handed to the app has no whole answer."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def body_bytes(self) -> int:
        """Returns how much of the current body was read."""
        return self._n_body

    def _count_open(self, n_body: int) -> None:
        """Counts the bytes that this connection holds among those of all."""
        now = max(0, n_body + len(self._rest) - FREE_BODY_BYTES)
        self.connections_of_worker.open_body_bytes += now - self._n_open
        self._n_open = now

    def _discard(self, n_bytes: int) -> None:
        self._n_discarded += n_bytes
        if self._n_discarded > MAX_DISCARDED:
            self.end("body_time")

    def refuse(self, error: ConnectionRefusal) -> None:
        """Answers an error, after the requests before it, and ends the connection."""
        is_own = self.phase == BODY and not self.pipeline
        if not is_own and self.is_answering() and self.phase != DRAINING:
            if self.phase == BODY:
                self.pipeline.popleft()  # the request that is refused
            self._refusal, self._rest = error, b""
            self.phase = ANSWERING
            self.flow.is_held = True
            self.flow.pause_reading()
            return
        self.connections_of_worker.refused(error.refused)
        has_begun = False
        if is_own and self.cycle is not None and not self.cycle.response_complete:
            has_begun = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.phase != DRAINING and not has_begun:
            self.coalescing.write(refusal_bytes(error, self.server_state.default_headers))
        self._linger()

    def _linger_if_sent(self) -> bool:
        """Returns True if the client still sends: closed now, it would read a reset instead of its answer."""
        if self.phase in (BODY, DRAINING) or self._rest:
            self._linger()
        return self.phase == LINGERING and not self._is_ending

    def _linger(self) -> None:
        self.phase = LINGERING
        self._rest = b""
        self._count_open(0)
        self._n_discarded = 0
        self.coalescing.flush()
        self.flow.is_held = False
        self.flow.resume_reading()
        if self._is_half_closed:
            self.end()
        elif self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def end(self, reason: str = "") -> None:
        """Closes the connection at once; what the client has not taken is lost. reason: how that is counted."""
        if reason:
            self.connections_of_worker.refused(reason)
        self.phase = LINGERING
        self._is_ending = True
        if self.coalescing.is_full:
            self.coalescing.abort()
        else:
            self.coalescing.close()


def find_bypass_app(app: Any) -> BypassApp | None:
    """Returns the app of ours behind uvicorn's middleware; None if there is another."""
    while isinstance(app, ProxyHeadersMiddleware):
        app = app.app
    return app if isinstance(app, BypassApp) else None
