"""What is written within one turn of the event loop leaves at its end, in one system call a connection."""

import asyncio
from contextlib import suppress
from typing import Any

MAX_PARTS = 32
"""More parts are not held back: a response that streams would fill the memory, unseen by the flow control."""

LARGE_BYTES = 65_536
"""More is written at once: its client reads while the rows of its request are counted."""


class WriteBatch:
    """The transports of one server that have something to write when the present turn of its event loop ends.

    A turn that answers several requests writes them all at its end: each write may wake a client, whose next request
    would take the processor from the requests that are still to be answered. A request that comes alone need not wait.
    """

    def __init__(self) -> None:
        self._waiting: list[CoalescingTransport] = []
        self._answered = 0
        self.is_busy = False
        """True if the last turn answered more than one request."""

    def add(self, transport: "CoalescingTransport", loop: asyncio.AbstractEventLoop) -> None:
        """Notes a transport that has begun to wait, in the order in which they do."""
        if not self._waiting:
            loop.call_soon(self._end)
        self._waiting.append(transport)

    def answered(self) -> None:
        """Notes that a request was answered within this turn."""
        self._answered += 1

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.is_busy, self._answered = self._answered > 1, 0
        for transport in waiting:
            with suppress(RuntimeError):  # it was closed meanwhile; the others' answers must not be lost with it
                transport.flush()


class CoalescingTransport:
    """A transport that joins what is written within one turn of the event loop, and is the real one in all else.

    uvicorn writes head and body of a response one after the other; each write is a system call of its own, which
    costs as much as a small model.
    """

    __slots__ = ("_loop", "_parts", "_transport", "_turn")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, turn: WriteBatch) -> None:
        self._transport = transport
        self._loop = loop
        self._turn = turn
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes soon; in the order of the calls."""
        if not self._parts:
            self._turn.add(self, self._loop)
        self._parts.append(data)
        if len(data) > LARGE_BYTES or len(self._parts) >= MAX_PARTS:
            self.flush()

    def write_answer(self, data: bytes) -> None:
        """Writes a whole response: at once if its request is alone, otherwise when the turn ends."""
        self.write(data)
        self._turn.answered()
        if not self._turn.is_busy:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Writes what waits, then closes."""
        self.flush()
        self._transport.close()
