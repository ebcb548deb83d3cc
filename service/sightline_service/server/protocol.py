"""The HTTP protocol of the server: uvicorn's on httptools, and a short way past it for what is answered at once.

A small request for a hot route is answered within the read that completes it: without a task, ASGI messages and their
checks, which together cost more than a small model. Everything else, and what a hot route leaves, goes uvicorn's way.
"""

import asyncio
from contextlib import suppress
from operator import itemgetter
from time import perf_counter_ns, time_ns
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sightline_service.server.asgi import Reply
from sightline_service.server.asgi_bypass import AsgiBypass, BypassApp
from sightline_service.server.joined_writes import CoalescingTransport, WriteBatch
from sightline_telemetry.requests.middleware import BEGUN

MAX_BYTES = 65_536
"""Larger bodies hold more rows than are answered at once."""

MAX_ANSWERS = 32
"""Requests of one read that are answered at once: who sends without pause must not keep all others waiting."""

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_NAME = itemgetter(0)


class BypassProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the short way of a BypassApp before it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held: list[bytes] | None = None
        """Parts of a body that may be answered at once; None while uvicorn's way is taken."""
        self._answered = 0
        config = self.config
        self._proxies: Any = None
        if config.proxy_headers:
            self._proxies = ProxyHeadersMiddleware(_nowhere, config.forwarded_allow_ips)  # type: ignore[arg-type]
        is_plain = not (config.access_log or config.limit_concurrency or config.root_path)
        self._app = _hot_app(config.loaded_app) if is_plain else None
        self._short_way: AsgiBypass | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A connection begins."""
        self._joined = CoalescingTransport(
            transport, self.loop, self._app.turn if self._app is not None else WriteBatch()
        )
        super().connection_made(self._joined)  # type: ignore[arg-type]
        if self._app is not None:
            self._short_way = self._app.short_way

    def data_received(self, data: bytes) -> None:
        """Bytes have come; what is not whole by now may wait for the rest, if that is small."""
        self._answered = 0
        super().data_received(data)
        if self._held is None:
            return
        if self.transport.is_closing():  # it was no HTTP, and has been refused
            self._held = None
        elif self._is_small():
            self._unset_keepalive_if_required()
            self.scope.setdefault(BEGUN, (time_ns(), perf_counter_ns()))  # type: ignore[misc]
        else:
            self._leave()

    def shutdown(self) -> None:
        """The server is about to end: what is held is under way, and will be answered."""
        if self._held is not None:
            self._leave()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: what is held counts as cancelled, as on uvicorn's way."""
        if self._held is not None:
            self._leave()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        if self._short_way is not None and self.url in self._short_way.paths and self._is_simple():
            self._held = []
        else:
            self._unset_keepalive_if_required()  # set by an answer of the same read
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._held is not None:
            body = b"".join(self._held)
            if len(body) <= MAX_BYTES and self._is_answered_at_once(body):
                self._held = None
                self._answered += 1
                self.on_response_complete()
                return
            self._leave()
        super().on_message_complete()

    def _is_simple(self) -> bool:
        """True for a POST that asks nothing of HTTP but an answer, when no other request of the connection runs."""
        parser = self.parser
        return bool(
            parser.get_method() == b"POST"
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and self._answered < MAX_ANSWERS
        )

    def _is_small(self) -> bool:
        """True if the body is known to be small: head and body often come in two packets.

        Until it is whole, the request has begun for its duration, but is none of the active ones.
        """
        length = dict(self.headers).get(b"content-length", b"")
        return length.isdigit() and int(length) <= MAX_BYTES

    def _is_answered_at_once(self, body: bytes) -> bool:
        assert self._short_way is not None  # noqa: S101  # a body is held only then
        scope: Scope = self.scope  # type: ignore[assignment]
        scope["method"] = "POST"
        scope["path"] = self.url.decode("ascii")
        scope["raw_path"] = self.url
        scope["query_string"] = b""
        if self._proxies is not None and not _FORWARDED.isdisjoint(map(_NAME, self.headers)):
            with suppress(StopIteration):  # it awaits nothing
                self._proxies(scope, None, None).send(None)
        return self._short_way.serve(scope, body, self._write)

    def _write(self, reply: Reply, traceresponse: bytes) -> None:
        defaults = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        more = b"".join([b"%b: %b\r\n" % header for header in reply.headers]) if reply.headers else b""
        line, length = STATUS_LINE[reply.status], len(reply.body)
        self._joined.write_answer(
            b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%btraceresponse: %b\r\n\r\n%b"
            % (line, defaults, reply.content_type, length, more, traceresponse, reply.body)
        )

    def _leave(self) -> None:
        """Lets uvicorn have the request, from its head on."""
        held, self._held = self._held, None
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        for part in held or ():
            super().on_body(part)


def _hot_app(app: Any) -> BypassApp | None:
    while isinstance(app, ProxyHeadersMiddleware):
        app = app.app
    return app if isinstance(app, BypassApp) else None


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind the proxies' middleware, where only what it does to the scope is wanted."""
