"""Where a worker's events go: into the rings of its seat in shared memory."""

import os
from collections import deque
from threading import Lock
from time import perf_counter_ns

from sightline_telemetry.counts.series import CHECKPOINT, SeriesTable
from sightline_telemetry.events.layout import FAULT, body_event
from sightline_telemetry.events.memory import Board
from sightline_telemetry.events.ring import RingWriter
from sightline_telemetry.events.slots import SlotTable
from sightline_telemetry.observer.overflow import PLACE, Overflow
from sightline_telemetry.requests.recording import Words


class WorkerSink:
    """Writes a worker's events into its rings; a forked child of the worker changes nothing in shared memory.

    `write` belongs to the event loop's thread. A full ring of requests loses no count: the worker counts itself then.
    A full ring of other events drops them, and counts that.
    """

    def __init__(self, board: Board, index: int) -> None:
        seat = board.seat(index)
        self._seat = seat
        self.active: Words = seat.active
        self.queued: Words = seat.queued
        self.slots: SlotTable | None = seat.slots(seat.process.generation)
        self.slots.clear()
        self._append = RingWriter(seat.request_ring).append
        self._side = RingWriter(seat.side_ring)
        self._lock = Lock()
        self._waiting: deque[bytes] = deque()
        self._n_dropped = 0
        self._overflow: Overflow | None = None
        board.leave_in_children()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._end_in_child)

    def describe(self, table: SeriesTable) -> None:
        """Sets what the events of this worker are about; no request is served before."""
        self._overflow = Overflow(self._seat, table)
        if self._overflow.is_new:
            self.write_aside(body_event(FAULT, CHECKPOINT.encode()))

    def write(self, event: bytes) -> None:
        """Takes an event from the event loop's thread."""
        if not self._append(event) and self._overflow is not None:
            self._overflow.add(event)

    def write_aside(self, event: bytes) -> None:
        """Takes an event from any thread; one that arrives while another is written is queued, and no thread waits."""
        self._waiting.append(event)
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                self._write_waiting()
            finally:
                self._lock.release()

    def _write_waiting(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            if self._n_dropped and self._side.append(body_event(FAULT, PLACE.encode())):
                self._n_dropped -= 1
            if not self._side.append(event):
                self._n_dropped += 1

    def beat(self) -> None:
        """Stores the time: the event loop turns."""
        self._seat.heartbeat_ns = perf_counter_ns()

    def is_ready(self) -> None:
        """Marks this worker as one that can serve."""
        self._seat.process.ready = self._seat.process.generation

    def _end_in_child(self) -> None:
        """Counts nothing in a forked child, and waits for no thread of its parent."""
        self._overflow = None
        self._lock = Lock()
        self._waiting.clear()


class GrantedByWorkers:
    """Counts the traces that are granted at the start of their requests, over all workers of a board.

    Each worker has a word of its own, and reads all words before it grants one: at most one too many per other worker
    in a window, none too few.
    """

    def __init__(self, board: Board, index: int) -> None:
        self._seats = [board.seat(each) for each in range(board.n_workers)]
        self._own = self._seats[index]

    def granted(self, window: int) -> int:
        """Returns how many all workers have granted in a window."""
        return sum(seat.granted(window) for seat in self._seats)

    def grant(self, window: int) -> None:
        """Counts one more of this worker."""
        self._own.grant(window)
