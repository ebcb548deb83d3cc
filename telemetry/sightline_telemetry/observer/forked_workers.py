"""One observer for the workers that another server forks: gunicorn, or any whose master can call these functions.

    service = observe([("churn", "3", load_profile(Path("profile.json")))], workers=4)  # in gunicorn.conf.py
    when_ready, post_fork, child_exit = service.when_ready, service.post_fork, service.child_exit

The master makes the shared memory and keeps the observer process running; each worker takes a seat of the memory after
it was forked, and its measurements count there. Nothing of it is needed in the app.
"""

import atexit
import inspect
import logging
import os
from collections.abc import Iterable
from typing import Any, ClassVar

from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.endings import ORDERLY
from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.seats import Seat, SeatSizes
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.observer.description import describe
from sightline_telemetry.observer.forked_worker import ForkedWorker
from sightline_telemetry.observer.guest import OPTIONS, measured
from sightline_telemetry.observer.keeper import ObserverKeeper
from sightline_telemetry.observer.locked_ring import LockedRing
from sightline_telemetry.observer.seat_locks import SeatLocks

_SEATS_PER_WORKER = 3  # successors run beside the workers that a reload ends, and a second reload may follow at once
_SIZES = BoardSizes(seat=SeatSizes(request_ring=2 << 20, side_ring=16_384, slots=1))  # no requests, no log lines

_log = logging.getLogger(__name__)


class ForkedWorkers:
    """The workers of a forking server and their observer; `observe` makes it.

    The hooks of gunicorn are `when_ready`, `post_fork` and `child_exit`. Another server calls `start` in its master
    before it forks, `enter` in each worker, and `ended` where it has waited for one.
    """

    made: ClassVar["ForkedWorkers | None"] = None
    """Those of this process: gunicorn runs its configuration again when it reloads."""

    def __init__(self, description: Description, workers: int) -> None:
        self.description = description
        self._table = SeriesTable(description)
        self._board = Board.create(_SEATS_PER_WORKER * workers + 1, _SIZES)
        self._board.describe(describe(description, OPTIONS))
        self._locks = SeatLocks(self._board.fd)
        self._seats = [self._board.seat(index) for index in range(self._board.n_workers)]
        self._keeper: ObserverKeeper | None = None
        self._master = 0

    def start(self) -> None:
        """Starts the observer, and keeps it running; called once, in the master, before it forks workers.

        Raises OSError when no folder can hold the observer's socket.
        """
        self._master = os.getpid()
        self._keeper = ObserverKeeper(self._board)
        self._keeper.start()
        atexit.register(self.stop)

    def enter(self) -> None:
        """Has the measurements of this worker count at the observer; called in the worker, before the first one.

        A worker that finds no free seat shares the last one, behind a lock: its counts are as exact. If all fails, its
        measurements count for themselves. Both are logged, and nothing is raised.
        """
        try:
            if self._keeper is None:
                raise RuntimeError("the observer was not started: `when_ready` (or `start`) has to run in the master")
            index = self._take_seat()
            ring = LockedRing(self._seats[index], self._table, self._locks, len(self._seats) + index)
            ForkedWorker(self._table, ring.write, str(self._keeper.socket_path)).enter()
        except Exception:
            _log.exception("this worker is not observed: its measurements count for themselves")

    def ended(self, pid: int, wait_status: int) -> None:
        """Frees the seat of a worker that has ended, and counts its death by the signal; called in the master.

        wait_status: as `os.waitpid` returned it. An exit with code 0, SIGINT and SIGTERM are no deaths.
        """
        is_death = wait_status not in ORDERLY
        for index, seat in enumerate(self._seats):
            if seat.process.pid == pid and self._locks.take(index):  # a successor may have taken it already
                try:
                    if seat.process.pid == pid:
                        seat.end(wait_status, is_death=is_death)
                        return
                finally:
                    self._locks.release(index)
        if is_death:
            self._seats[-1].deaths[wait_status & 0x7F] += 1

    def stop(self) -> None:
        """Ends the observer after a last export; the master calls it by itself when it exits."""
        if self._keeper is not None and self._master == os.getpid():
            atexit.unregister(self.stop)
            self._keeper.stop()
            ForkedWorkers.made = None

    def when_ready(self, server: object) -> None:  # noqa: ARG002  # gunicorn's signature, here and below
        """Starts the observer: a hook of gunicorn."""
        self.start()

    def post_fork(self, server: object, worker: object) -> None:  # noqa: ARG002
        """Gives the worker a seat: a hook of gunicorn."""
        self.enter()

    def child_exit(self, server: object, worker: Any) -> None:  # noqa: ARG002
        """Frees the worker's seat and counts its death: a hook of gunicorn."""
        self.ended(worker.pid, _wait_status())

    def _take_seat(self) -> int:
        """Returns the index of a seat that this process alone has, or of the last one, which is shared."""
        own = range(len(self._seats) - 1)
        # First the seats whose last worker the master has reported: the others' would never be.
        for index in sorted(own, key=lambda index: self._seats[index].process.pid != 0):
            if self._locks.take(index):
                _begin(self._seats[index])
                return index
        _log.warning("all %d seats are taken: this worker shares one, which is slower; observe more workers", len(own))
        return len(own)


def observe(models: Iterable[tuple[str, str, ReferenceProfile]], workers: int) -> ForkedWorkers:
    """Prepares one observer for all workers of a forking server; in gunicorn.conf.py, or in another server's master.

    models: name, version and profile of each model that the app measures, as its Measurement has them. A measurement
    of another model or profile counts for itself, as without an observer, and logs a warning.
    workers: how many the server runs; there are seats for three times as many.
    Raises ValueError without a model or a worker, or if the profiles are larger than the memory for them.
    """
    description = measured(*(DescribedModel(ModelId(name, version), profile) for name, version, profile in models))
    if not description.models:
        raise ValueError("there is no model to observe")
    if workers < 1:
        raise ValueError(f"a server has at least one worker, not {workers}")
    made = ForkedWorkers.made
    if made is None:
        ForkedWorkers.made = made = ForkedWorkers(description, workers)
    elif made.description.digest != description.digest:
        _log.warning("the observer goes on with the models that it was started with; restart the server to change them")
    return made


def _begin(seat: Seat) -> None:
    """Writes into a seat that this process has it now."""
    process = seat.process
    if process.pid:
        process.end(0)  # the last worker's end was not reported yet
    process.begin()
    process.pid = os.getpid()


def _wait_status() -> int:
    """Returns how the worker ended that gunicorn has just waited for; 0 if that cannot be found out.

    gunicorn hands no status to its hooks (https://github.com/benoitc/gunicorn/issues/3330), so it is read where its
    `reap_workers` holds it.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "reap_workers":
        frame = frame.f_back
    status = None if frame is None else frame.f_locals.get("status")
    return status if isinstance(status, int) else 0
