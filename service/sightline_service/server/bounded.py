"""Reads requests within the bounds of a worker, one message at a time, whatever one read brings.

Bytes behind a request without an answer wait unparsed, and nothing more is read meanwhile. So a client that pipelines
without pause holds one read of memory and one request.
"""

from contextvars import Context
from typing import Any

import httptools

from sightline_service.errors import (
    BadRequestError,
    ConnectionRefusal,
    HttpVersionError,
    LargeHeadError,
    LongAddressError,
    OpenBodiesError,
)
from sightline_service.server.connection import (
    ANSWERING,
    BODY,
    DRAINING,
    HEAD,
    IDLE,
    LINGERING,
    ClientConnection,
)
from sightline_service.server.slices import replayed_head, slice_end
from sightline_telemetry.requests.middleware import WHEN_WRITTEN

DIRECT_BYTES = 1024
"""A read of at most so many bytes is parsed as a whole: it holds few requests, if it holds more than one."""

MAX_SLICES = 64
"""Parts of one read that are parsed in one turn of the event loop; others are served before the rest is."""

MAX_OVERHEAD = 65_536
"""Bytes of chunk sizes, extensions and trailers beyond 16 per byte of a body."""


class BoundedProtocol(ClientConnection):
    """uvicorn's protocol with bounds on all that a client can send."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.n_answered = 0
        self.n_hosts = 0
        self._n_head = self._n_read = 0
        self._has_line = False
        self._is_scheduled = self._is_replaying = False

    def data_received(self, data: bytes) -> None:
        """Reads bytes."""
        self.n_answered = 0
        if self.phase < ANSWERING and not self._rest and len(data) <= DIRECT_BYTES:
            n_head = self._n_head
            if self.phase == HEAD and n_head + len(data) > self.bounds.max_head_bytes:
                self._refuse_head(data)
                return
            self._feed(data)
            if HEAD <= self.phase <= BODY:
                self._note_unfinished(data)
        elif self._rest:
            self._rest += data
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Parses bytes message by message, as far as their turn has come; the rest waits."""
        at = n_slices = 0
        while at < len(data):
            if self.phase == LINGERING:
                self._discard(len(data) - at)
                return
            if self._is_waiting():
                self._hold(data[at:])
                return
            if n_slices == MAX_SLICES or self.has_answered_enough():
                self._hold(data[at:])
                self.go_on_soon()
                return
            end = slice_end(self.phase, data, at, self._body_left())
            n_head = (self._n_head if self.phase == HEAD else 0) + end - at
            if self.phase in (IDLE, HEAD, ANSWERING) and n_head > self.bounds.max_head_bytes:
                self._refuse_head(data[at:end])
                return
            part = data[at:end] if end - at < len(data) else data
            self._feed(part)
            if HEAD <= self.phase <= BODY:
                self._note_unfinished(part)
            elif self.phase == DRAINING:
                self._discard(len(part))
            at, n_slices = end, n_slices + 1

    def has_answered_enough(self) -> bool:
        """Returns True if others should be served before the rest of a read is."""
        return False

    def _is_waiting(self) -> bool:
        """Returns True if the next message has to wait for answers to those before it."""
        if self.phase not in (IDLE, ANSWERING):
            return False
        return self.flow.write_paused or self.is_answering()

    def _hold(self, rest: bytes) -> None:
        self._rest += rest
        self.flow.is_held = True
        self.flow.pause_reading()
        self._count_open(self._n_body)

    def go_on_soon(self) -> None:
        """Goes on with what waits in a later turn of the event loop."""
        if self._rest and not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._continue, context=Context())  # not within the context of the last request

    def _continue(self) -> None:
        """Goes on with what waits, once the requests before it are answered."""
        self._is_scheduled = False
        rest, self._rest = self._rest, b""
        self.n_answered = 0
        if rest and not self.transport.is_closing():
            self._read(rest)
        self._read_on()

    def _read_on(self) -> None:
        """Reads on when nothing waits any more; ends a half-closed connection whose requests are answered."""
        if self._rest or self.pipeline:
            return
        is_open = self.phase == BODY or self.is_answering()
        self._count_open(self.body_bytes() if is_open else 0)
        self.flow.is_held = False
        self.flow.resume_reading()
        if self._is_half_closed and not is_open and not self.transport.is_closing():
            self.coalescing.close()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, ConnectionRefusal):
                self.refuse(cause)
            else:
                self.refuse(BadRequestError("the bytes are no request of HTTP/1.1; compare them with RFC 9112"))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Reads a request that offers an upgrade like any other (RFC 9110, 7.8); llhttp passes over its body."""
        headers, is_chunked = dict(self.headers), b"transfer-encoding" in dict(self.headers)
        length = headers.get(b"content-length")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if length is None and not is_chunked:
            self._end_message()
        else:
            self._is_replaying = True
            self.parser.feed_data(replayed_head(length))
        if rest:
            self._read(rest)

    def _note_unfinished(self, part: bytes) -> None:
        """Counts what was read of a message that is not whole, and refuses it beyond the bounds."""
        if self.phase == HEAD:
            self._n_head += len(part)
            self._has_line = self._has_line or b"\n" in part
            if self._n_head > self.bounds.max_head_bytes:
                self._refuse_head(part)
            elif len(self.headers) > self.bounds.max_headers:
                self.refuse(self._too_many_headers())
            return
        n_body = self.body_bytes()
        self._n_read += len(part)
        if self._n_read > MAX_OVERHEAD + self.bounds.max_head_bytes + 17 * n_body:
            self.refuse(BadRequestError("the chunks of the body have more framing than content"))
            return
        self._count_open(n_body)
        bound = self.bounds.max_open_body_bytes
        if self._n_open and self.connections_of_worker.open_body_bytes > bound:
            self.refuse(OpenBodiesError(f"more than {bound} bytes of bodies are being read; send the request again"))

    def _body_left(self) -> int | None:
        """Returns how much of the current body is missing; None if that is not known."""
        if self.phase != BODY and self.phase != DRAINING:
            return None
        length = dict(self.headers).get(b"content-length", b"").strip()
        return int(length) - self.body_bytes() if length.isdigit() else None

    def on_message_begin(self) -> None:
        """Begins a message."""
        if self._is_replaying:
            return
        self.phase = HEAD
        self._n_head = self._n_read = self.n_hosts = 0
        self._has_line = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Takes a part of the address."""
        if not self._is_replaying:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header; trailers are discarded, as RFC 9110 (6.5.1) allows."""
        if self.phase != HEAD:
            return
        name = name.lower()
        if name == b"host":
            self.n_hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif len(value) > 20 and name == b"content-length":
            value = value.strip().lstrip(b"0") or b"0"  # Python converts 4,300 digits at most
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begins the body of a request whose head is right. Raises ConnectionRefusal."""
        if self._is_replaying:
            self._is_replaying = False
            return
        self.check_head()
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise HttpVersionError(f"the request is of HTTP/{version}; send HTTP/1.1")
        self.hand_to_app()

    def hand_to_app(self) -> None:
        """Begins the request in the app, through ASGI, or queues it behind those that have no answer."""
        self.scope[WHEN_WRITTEN] = self.coalescing.keep_slot  # type: ignore[literal-required]
        super().on_headers_complete()
        self.phase = BODY
        self._n_body = 0
        if self.pipeline:
            self.flow.is_held = True

    def check_head(self) -> None:
        """Raises ConnectionRefusal for a head that is beyond the bounds, or names no host or several."""
        if self.n_hosts != 1 and (self.n_hosts or self.parser.get_http_version() == "1.1"):
            raise BadRequestError(f"the head has {self.n_hosts} Host headers; send one")
        if len(self.headers) > self.bounds.max_headers:
            raise self._too_many_headers()
        if self.parser.get_method() == b"CONNECT":
            raise BadRequestError("this is no proxy: CONNECT has no meaning here")

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._n_body += len(body)
        if self.phase == BODY:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a message."""
        if not self.parser.should_upgrade():
            self._end_message()

    def _end_message(self) -> None:
        if self.phase == DRAINING:
            self.phase = IDLE
        elif self.phase == BODY:
            self.phase = ANSWERING
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Goes on with the next request of the connection, if there is one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self.phase == LINGERING:
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            self._read_on()
            return
        if self.phase == ANSWERING:
            self.phase = IDLE
        elif self.phase == BODY and self.cycle is not None and self.cycle.response_complete:
            self.phase = DRAINING  # answered before its body was whole
            self._n_discarded = 0
        if self._refusal is not None:
            self.refuse(self._refusal)
        elif self._rest:
            self.go_on_soon()
        elif self._n_open or self.flow.read_paused or self._is_half_closed:
            self._read_on()

    def _refuse_head(self, data: bytes) -> None:
        bound = self.bounds.max_head_bytes
        if b"\n" in data[:bound] or (self.phase == HEAD and (self._has_line or self.headers)):
            self.refuse(LargeHeadError(f"the head has more than {bound} bytes; send fewer or shorter headers"))
        else:
            self.refuse(LongAddressError(f"the address has more than {bound} bytes; send a shorter one"))

    def _too_many_headers(self) -> LargeHeadError:
        return LargeHeadError(f"the head has more than {self.bounds.max_headers} headers; send fewer")
