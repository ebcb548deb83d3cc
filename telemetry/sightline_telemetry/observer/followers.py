"""Who follows requests live: each gets the lines of ended requests, and is never waited for."""

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Condition, Lock

from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.requests.request_kind import RequestKind

MAX_WAITING = 1000
"""Lines that wait for one follower; the oldest beyond them are left out, and counted."""


class Follower:
    """The lines that wait for one follower."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._n_missed = 0
        self._changed = Condition()

    def add(self, line: bytes) -> None:
        """Adds a line."""
        with self._changed:
            self._n_missed += len(self._lines) == MAX_WAITING
            self._lines.append(line)
            self._changed.notify()

    def wait(self, timeout_s: float) -> list[bytes]:
        """Returns all lines that wait, after the first one or the time."""
        with self._changed:
            if not self._lines:
                self._changed.wait(timeout_s)
            missed = [json.dumps({"missed": self._n_missed}).encode() + b"\n"] if self._n_missed else []
            lines, self._n_missed = missed + list(self._lines), 0
            self._lines.clear()
        return lines


class Followers:
    """All followers of a service; without one, an ended request costs nothing here."""

    def __init__(self) -> None:
        self._all: tuple[Follower, ...] = ()
        self._lock = Lock()  # of those who come and go; `show` reads what was last stored

    def show(self, event: RequestEvent, kind: RequestKind, kept: str | None) -> None:
        """Shows an ended request to all followers; no value of a feature is in it."""
        if not self._all:
            return
        ended = datetime.fromtimestamp(event.unix(event.end_ns) / 1e9, UTC)
        shown = {
            "time": ended.strftime("%H:%M:%S.%f")[:-3],
            "name": f"{kind.method} {kind.route}".rstrip(),
            "route": kind.route,
            "status": kind.status,
            "duration_s": event.duration_s,
            "trace_id": f"{event.trace_id:032x}",
            "rows": event.n_rows,
            "kept": kept,
        }
        line = json.dumps(shown, separators=(",", ":")).encode() + b"\n"
        for follower in self._all:
            follower.add(line)

    @contextmanager
    def following(self) -> Iterator[Follower]:
        """Adds a follower for the length of the block."""
        follower = Follower()
        with self._lock:
            self._all = (*self._all, follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._all = tuple(each for each in self._all if each is not follower)
