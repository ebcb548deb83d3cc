"""All connections of a worker: how many there are, what they hold together, and a sweep that ends those that wait."""

import asyncio
from collections.abc import Callable
from heapq import nsmallest
from time import monotonic
from typing import Protocol

from sightline_service.server.bounds import Bounds, connections_allowed
from sightline_service.server.deadlines import Deadlines

_EVICTED_SHARE = 16
"""If there is no room, one in so many connections ends, those that wait longest: a search per newcomer would cost."""


class Bounded(Protocol):
    """A connection as the sweep sees it."""

    deadlines: Deadlines

    @property
    def is_unread(self) -> bool:
        """Returns True if the client has not taken all that was written."""

    def check(self, now_s: float) -> None:
        """Ends the connection if it has waited for its client for too long."""

    def end(self, reason: str) -> None:
        """Ends the connection at once, and counts why."""


class Connections:
    """The connections of one worker; belongs to the thread of its event loop.

    refused: counts a refusal by its reason, one of `events.layout.REFUSED_REASONS`.
    One timer serves all connections: one per request would cost each request more than all bounds together.
    """

    def __init__(self, bounds: Bounds, refused: Callable[[str], None] = lambda _: None) -> None:
        self.bounds = bounds
        self.refused = refused
        self.max_connections = connections_allowed(bounds.max_connections)
        self.open_body_bytes = 0
        """Bytes of bodies that are held for requests without an answer."""
        self.open: set[Bounded] = set()
        self._is_sweeping = False

    def __len__(self) -> int:
        return len(self.open)

    def admit(self, connection: Bounded, loop: asyncio.AbstractEventLoop) -> bool:
        """Adds a new connection; returns False if there is no room, not even by ending some that wait longest."""
        if len(self.open) >= self.max_connections:
            self._evict()
            if len(self.open) >= self.max_connections:
                self.refused("connections")
                return False
        self.open.add(connection)
        if not self._is_sweeping:
            self._is_sweeping = True
            loop.call_later(self.bounds.sweep_s, self._sweep, loop)
        return True

    def remove(self, connection: Bounded) -> None:
        """Removes a connection that has ended."""
        self.open.discard(connection)

    def _evict(self) -> None:
        waiting = [each for each in self.open if each.deadlines.is_waiting_for_head]
        for each in nsmallest(
            max(1, self.max_connections // _EVICTED_SHARE), waiting, lambda each: each.deadlines.since_s
        ):
            each.end("connections")
            self.open.discard(each)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = monotonic()
        for each in list(self.open):
            each.check(now_s)
        self._is_sweeping = bool(self.open)
        if self._is_sweeping:
            loop.call_later(self.bounds.sweep_s, self._sweep, loop)
