"""Joins the writes of one iteration of the event loop: one system call per connection, when the iteration ends."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MAX_PARTS = 32
"""More parts are not held back: a streamed response would fill the memory, hidden from flow control."""

LARGE_BYTES = 65_536
"""Larger parts are written at once: joining would copy them."""


class WriteBatch:
    """The transports of one server that write when the current iteration of its event loop ends.

    An iteration that answers several requests writes all answers at its end: each write may wake a client, whose next
    request would take the processor from the requests that still wait. A request that comes alone need not wait.
    """

    def __init__(self) -> None:
        self._waiting: list[CoalescingTransport] = []
        self.release: Callable[[list[int]], None] = _release_nothing
        """Frees the slots of requests whose answers are written."""
        self._n_answered = 0
        self.is_busy = False
        """True if the last iteration answered more than one request."""

    def add(self, transport: "CoalescingTransport", loop: asyncio.AbstractEventLoop) -> None:
        """Adds a transport that has parts to write; transports write in the order in which they were added."""
        if not self._waiting:
            loop.call_soon(self._end, loop)
        self._waiting.append(transport)

    def answered(self) -> None:
        """Notes that a request was answered in this iteration."""
        self._n_answered += 1

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        was_busy, self.is_busy, self._n_answered = self.is_busy, self._n_answered > 1, 0
        slots: list[int] = []
        for transport in waiting:
            with suppress(RuntimeError):  # this one was closed meanwhile; the others' answers must not be lost
                transport.flush()
            if transport.slots and not transport.is_full:
                slots += transport.slots
                transport.slots.clear()
        if was_busy:  # a transport may write when the iteration ends, too
            loop.call_soon(self.release, slots)
        else:
            self.release(slots)


class CoalescingTransport:
    """A transport that joins the writes of one iteration of the event loop; all else is the real transport's.

    uvicorn writes head and body of a response one after the other; each write is a system call of its own, which
    costs as much as a small model.
    is_full: the client has not taken all that was written; the protocol knows that, and sets it.
    slots: of requests whose answers are not all written. Of a request whose answer was not written when its process
    died, other processes then know.
    """

    __slots__ = ("_batch", "_is_lost", "_loop", "_parts", "_transport", "is_full", "is_kept_open", "slots")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, batch: WriteBatch) -> None:
        self._transport = transport
        self._loop = loop
        self._batch = batch
        self._parts: list[bytes] = []
        self._is_lost = False
        self.is_full = False
        self.slots: list[int] = []
        self.is_kept_open: Callable[[], bool] = bool
        """Asked before the transport closes: True if its protocol will close it later."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes when the iteration ends, in the order of the calls."""
        if not self._parts:
            self._batch.add(self, self._loop)
        self._parts.append(data)
        if len(data) > LARGE_BYTES or len(self._parts) >= MAX_PARTS:
            self.flush()

    def write_answer(self, data: bytes, slot: int) -> None:
        """Writes a whole response: at once if its request came alone, otherwise when the iteration ends.

        slot: of the request among those in flight; -1 without one. It is freed when the client has taken all of it.
        """
        self.write(data)
        if slot >= 0:
            self.slots.append(slot)
        self._batch.answered()
        if not self._batch.is_busy:
            self.flush()

    def keep_slot(self, slot: int, release: Callable[[list[int]], None]) -> None:
        """Keeps the slot of a request that the app has answered until all that was written has left."""
        if self._is_lost or not (self._parts or self.is_full):
            release([slot])
        else:
            self._batch.release = release
            self.slots.append(slot)

    def flush(self) -> None:
        """Writes the parts that wait."""
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def emptied(self) -> None:
        """Notes that the client has taken all that was written."""
        self.is_full = False
        if self.slots and not self._parts:
            slots, self.slots = self.slots, []
            self._batch.release(slots)

    def lost(self) -> None:
        """Notes that the connection is gone; no client waits for its answers."""
        self._is_lost = True
        self._parts.clear()
        self.emptied()

    def close(self) -> None:
        """Writes the parts that wait, then closes, now or when the protocol does."""
        self.flush()
        if not self.is_kept_open():
            self._transport.close()


def _release_nothing(slots: list[int]) -> None:
    """Stands in until there is telemetry: no request has a slot."""
