"""The HTTP protocol of the server: uvicorn's on httptools, with the bypass of ASGI before it.

A small request for a bypassed route is answered within the read that completes it: without a task, ASGI messages and
their checks, which together cost more than a small model. All other requests take uvicorn's way through ASGI.
"""

import asyncio
from contextlib import suppress
from operator import itemgetter
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from sightline_service.server.asgi import Reply
from sightline_service.server.asgi_bypass import AsgiBypass
from sightline_service.server.bounded import BoundedProtocol
from sightline_service.server.connection import BODY, IDLE, LINGERING
from sightline_telemetry.requests.propagation import read_caller
from sightline_telemetry.requests.running import TIMELINE
from sightline_telemetry.requests.timeline import Timeline

MAX_BYTES = 65_536
"""Larger bodies hold more rows than are predicted synchronously."""

MAX_ANSWERS = 32
"""Requests of one read that bypass ASGI: a client that sends without pause must not keep all others waiting."""

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_NAME = itemgetter(0)


class BypassProtocol(BoundedProtocol):
    """uvicorn's protocol within its bounds, with the bypass of a BypassApp before it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held: list[bytes] | None = None
        """Parts of the body of a request that may bypass ASGI; None while uvicorn's way is taken."""
        config = self.config
        self._proxies: Any = None
        if config.proxy_headers:
            self._proxies = ProxyHeadersMiddleware(_nowhere, config.forwarded_allow_ips)  # type: ignore[arg-type]
        self._is_plain = not (config.access_log or config.limit_concurrency or config.root_path)
        self._bypass: AsgiBypass | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begins a connection."""
        super().connection_made(transport)
        if self.app_of_ours is not None and self._is_plain:
            self._bypass = self.app_of_ours.asgi_bypass

    def data_received(self, data: bytes) -> None:
        """Reads bytes; a request that is not whole by then may wait for the rest, if that is small."""
        super().data_received(data)
        if self._held is not None:
            self._note_held()

    def _note_held(self) -> None:
        if self.phase == LINGERING:  # the bytes were not HTTP, and were refused
            self._held = None
        elif self._is_small():
            scope: Scope = self.scope  # type: ignore[assignment]
            if TIMELINE not in scope:  # the request has begun for its duration
                scope[TIMELINE] = Timeline(read_caller(self.headers))
        else:
            self._leave()

    def shutdown(self) -> None:
        """Ends the server soon: a request whose body is held back is under way, and will be answered."""
        if self._held is not None:
            self._leave()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends a connection: a request whose body is held back counts as cancelled, as on uvicorn's way."""
        if self._held is not None:
            self._leave()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Chooses the way of a request whose head is whole."""
        if self._bypass is not None and self.url in self._bypass.paths and self._is_simple():
            self._held = []
            self.phase = BODY
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Answers a request that is whole, if it can be answered now."""
        held = self._held
        if held is not None:
            body = held[0] if len(held) == 1 else b"".join(held)
            reply = self._answer(body) if len(body) <= MAX_BYTES else None
            if reply is not None:
                self._write(reply)
                self._held = None
                self.n_answered += 1
                self.phase = IDLE
                self.on_response_complete()
                return
            self._leave()
        super().on_message_complete()

    def has_answered_enough(self) -> bool:
        """Returns True if others should be served before the rest of a read is."""
        return self.n_answered >= MAX_ANSWERS

    def body_bytes(self) -> int:
        """Returns how much of the current body was read."""
        return super().body_bytes() if self._held is None else sum(map(len, self._held))

    def _is_simple(self) -> bool:
        """Returns True for a plain POST over HTTP/1.1, when no other request of the connection runs."""
        parser = self.parser
        return bool(
            parser.get_method() == b"POST"
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and self.n_answered < MAX_ANSWERS
            and self.n_hosts == 1
            and len(self.headers) <= self.bounds.max_headers
        )

    def _is_small(self) -> bool:
        """Returns True if the body is known to be small: head and body often come in two packets.

        Until the body is whole, the request's duration runs, but the request does not count as active.
        """
        length = dict(self.headers).get(b"content-length", b"")
        return length.isdigit() and int(length) <= MAX_BYTES

    def _answer(self, body: bytes) -> Reply | None:
        assert self._bypass is not None  # noqa: S101  # a body is held back only then
        scope: Scope = self.scope  # type: ignore[assignment]
        scope["method"] = "POST"
        scope["path"] = self.url.decode("ascii")
        scope["raw_path"] = self.url
        scope["query_string"] = b""
        if self._proxies is not None and not _FORWARDED.isdisjoint(map(_NAME, self.headers)):
            with suppress(StopIteration):  # the middleware awaits nothing
                self._proxies(scope, None, None).send(None)
        return self._bypass.answer(scope, body)

    def _write(self, reply: Reply) -> None:
        scope: Scope = self.scope  # type: ignore[assignment]
        timeline: Timeline = scope[TIMELINE]
        defaults = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        more = b"".join([b"%b: %b\r\n" % header for header in reply.headers]) if reply.headers else b""
        line, length = STATUS_LINE[reply.status], len(reply.body)
        self.coalescing.write_answer(
            b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%btraceresponse: %b\r\n\r\n%b"
            % (line, defaults, reply.content_type, length, more, timeline.traceresponse(), reply.body),
            timeline.slot,
        )

    def _leave(self) -> None:
        """Hands the request to uvicorn, from its head on."""
        held, self._held = self._held, None
        self.hand_to_app()
        for part in held or ():
            super().on_body(part)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands behind the proxies' middleware, of which only the changes to the scope are wanted."""
