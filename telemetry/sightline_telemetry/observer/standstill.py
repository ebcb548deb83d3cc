"""Finds workers whose event loop stands still, and names the request that it stands in."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter_ns

from sightline_telemetry.counts.description import Description
from sightline_telemetry.observer.seat_reader import SeatReader
from sightline_telemetry.traces.lost import standstill_line

BEATS_EVERY_S = 0.5
"""How often a worker's event loop stores the time."""

_LATE_NS = 1_000_000_000


class Standstill:
    """Watches the heartbeats of workers.

    after_s: from then on a standstill is reported, once. write: takes log lines.
    ends: the worker is then killed, and reported as any that dies.
    """

    def __init__(self, after_s: float, write: Callable[[bytes], None], *, ends: bool) -> None:
        self._after_ns = int(after_s * 1e9)
        self._write = write
        self._ends = ends
        self._checked_ns = perf_counter_ns()
        self._reported: dict[int, int] = {}

    def check(self, seats: list[SeatReader], description: Description) -> None:
        """Reports the workers that stand still now, and were not reported."""
        now_ns = perf_counter_ns()
        is_late, self._checked_ns = now_ns - self._checked_ns > _LATE_NS, now_ns
        if is_late:  # all processes may have been paused: the workers get the time to store theirs
            return
        for seat in seats:
            beat_ns, words = seat.seat.heartbeat_ns, seat.seat.process
            if not words.is_serving or now_ns - beat_ns < self._after_ns or self._reported.get(seat.index) == beat_ns:
                continue
            self._reported[seat.index] = beat_ns
            in_flight = seat.seat.slots(words.generation).read()
            self._write(standstill_line(seat.index, (now_ns - beat_ns) / 1e9, in_flight, description))
            if self._ends:
                with suppress(ProcessLookupError):
                    os.kill(words.pid, signal.SIGKILL)
