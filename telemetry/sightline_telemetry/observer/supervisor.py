"""Starts a service's processes, starts again what dies, and stops them in order; reads no event.

    python -m sightline_telemetry.observer.supervisor PLAN

It makes what outlives each of them: the shared memory, the listening sockets, the Unix socket on which the observer
answers. It imports small modules of the standard library only, because it runs as long as the service.

The first worker starts alone, and the others when it is ready: a model that cannot be loaded fails once, with its own
message and exit code. All children end when the supervisor does: their lifelines, pipes whose other ends it alone
holds, are then closed by the system.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from math import inf
from time import monotonic
from typing import NamedTuple, Self

from sightline_telemetry.events.endings import ORDERLY
from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.seats import SeatSizes
from sightline_telemetry.observer import sockets
from sightline_telemetry.observer.child import Child, how_it_ended
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.standard_streams import unblock_standard_streams

_OBSERVER_GRACE_S = 3.0  # this much of the grace period is left for the observer to export
_READY_POLL_S = 0.05
_KILL_S = 2.0  # a killed process that is not gone by then waits in the kernel, for instance for a disk
_REPEAT_S = 60.0  # a message about an observer that keeps dying is written as often as this
_CANNOT_START = 2
WHY_IT_ENDED = "make the bundle again if it is broken, or give the service more memory"
_STOPPED_BY_USER = 130  # as a shell reports a command that SIGINT has ended


class Plan(NamedTuple):
    """What to run.

    observer, worker: commands; an empty one of the observer starts none.
    metrics_port: a port of its own for scrapes, None without.
    grace_s: how long a stop may take; the workers get 3 s less, or half of it if that is more.
    ring_bytes, slots: of each worker, in the shared memory.
    """

    observer: list[str]
    worker: list[str]
    n_workers: int
    host: str
    port: int
    metrics_port: int | None = None
    grace_s: float = 8.0
    ring_bytes: int = SeatSizes().request_ring
    slots: int = SeatSizes().slots

    def to_json(self) -> str:
        """Returns the argument from which the supervisor reads this plan."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads a plan from the supervisor's argument."""
        return cls(**json.loads(text))


class Supervisor:
    """The processes of one service, and what they inherit; belongs to the main thread, for it handles signals.

    Raises OSError when an address cannot be bound, or no folder can hold the observer's socket.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        seat = SeatSizes(request_ring=plan.ring_bytes, slots=plan.slots)
        self._board = Board.create(plan.n_workers, BoardSizes(seat=seat))
        self._seats = [self._board.seat(index) for index in range(plan.n_workers)]
        self._listening = sockets.listen(plan.host, plan.port)
        self._metrics = None if plan.metrics_port is None else sockets.listen(plan.host, plan.metrics_port)
        self._answers, self._answers_path = sockets.listen_privately(self._listening.getsockname()[1])
        self._workers_line = os.pipe()
        self._observer_line = os.pipe()
        self._workers = [self._worker(index) for index in range(plan.n_workers)]
        self._observer = Child(
            self._board.observer,
            plan.observer,
            Inheritance(
                board=self._board.fd,
                lifeline=self._observer_line[0],
                answers=self._answers.fileno(),
                metrics=self._metrics.fileno() if self._metrics else None,
            ),
        )
        self._has_served = False
        self._is_stopping = False
        self._observer_starts = inf  # how often it may still be started again: at the end once, if it dies
        self._interrupts = 0
        self._said_s = -_REPEAT_S

    def _worker(self, index: int) -> Child:
        inheritance = Inheritance(
            board=self._board.fd,
            lifeline=self._workers_line[0],
            listening=self._listening.fileno(),
            worker=index,
            observer_socket=str(self._answers_path) if self._plan.observer else None,
        )
        seat = self._seats[index]
        return Child(seat.process, self._plan.worker, inheritance, seat)

    def run(self) -> int:
        """Runs the service until it is stopped; returns the exit code of the whole.

        SIGTERM or SIGINT stops it in order, with exit code 0; a second SIGINT kills what still runs.
        """
        if self._plan.observer:
            self._observer.due_s = monotonic()
        self._workers[0].due_s = monotonic()
        self._signals = _signal_pipe()
        try:
            code = self._run()
            self._stop()
        except OSError as error:
            _say(f"the first worker cannot be started: {error}")
            code = 1
            self._stop()
        except KeyboardInterrupt:
            code = _STOPPED_BY_USER
            self._kill([*self._workers, self._observer])
        finally:
            self._answers_path.unlink(missing_ok=True)
        return code

    def _run(self) -> int:
        """Keeps all children running until they are to be stopped; returns the exit code."""
        while True:
            self._start_due()
            self._sleep(None if self._has_served else monotonic() + _READY_POLL_S)
            if self._is_stopping:
                return 0
            if not self._has_served and any(seat.process.ready for seat in self._seats):
                self._has_served = True
                for worker in self._workers[1:]:
                    worker.due_s = monotonic()
            for worker, wait_status in self._reap():
                if not self._has_served:
                    if os.WIFSIGNALED(wait_status):
                        _say(f"the first worker {how_it_ended(wait_status)} before it was ready; {WHY_IT_ENDED}")
                        return _CANNOT_START
                    return os.WEXITSTATUS(wait_status)
                worker.restart()

    def _stop(self) -> None:
        """Stops the workers, then the observer, within the grace period."""
        now_s = monotonic()
        grace_s = self._plan.grace_s
        self._is_stopping = True
        for worker in self._workers:
            worker.due_s = None
            worker.send(signal.SIGTERM)
        self._await(self._workers, now_s + workers_grace_s(grace_s))
        self._kill(self._workers)
        self._observer_starts = 1
        if self._observer.due_s is not None:  # it died a moment ago: a last one starts at once, to export what there is
            self._observer.due_s = monotonic()
            self._observer_starts = 0
        os.close(self._observer_line[1])
        self._await([self._observer], now_s + grace_s)
        self._kill([self._observer])

    def _await(self, children: list[Child], until_s: float) -> None:
        """Waits until these children have ended, or until a time on the monotonic clock."""
        while monotonic() < until_s and any(child.pid or child.due_s is not None for child in children):
            self._start_due()
            self._sleep(until_s)
            for _ in self._reap():
                pass

    def _kill(self, children: list[Child]) -> None:
        """Kills what still runs of these children."""
        if self._observer in children:
            self._observer_starts = 0
        for child in children:
            child.due_s = None
            child.send(signal.SIGKILL)
        until_s = monotonic() + _KILL_S
        while monotonic() < until_s and any(child.pid for child in children):
            self._sleep(until_s)
            for _ in self._reap():
                pass

    def _start_due(self) -> None:
        """Starts the children whose pause is over; raises OSError if that fails for the first worker."""
        for child in (self._observer, *self._workers):
            if child.due_s is not None and child.due_s <= monotonic():
                try:
                    child.start()
                except OSError as error:  # there is no such program, or a limit of processes or of memory is reached
                    if child is self._observer:
                        self._restart_observer(f"cannot be started: {error}")
                    elif self._has_served:
                        child.restart()
                    else:
                        raise

    def _reap(self) -> Iterator[tuple[Child, int]]:
        """Waits for every child that has ended; yields the workers among them, with their wait status.

        In a container this process may be the first, and then inherits children of its children: they are waited for.
        """
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._observer.pid:
                self._observer.reaped(wait_status)
                self._observer.words.end(wait_status)
                if wait_status or self._observer_starts == inf:
                    self._restart_observer(how_it_ended(wait_status))
            for worker, seat in zip(self._workers, self._seats, strict=True):
                if pid == worker.pid:
                    worker.reaped(wait_status)
                    seat.end(wait_status, is_death=not self._is_stopping or wait_status not in ORDERLY)
                    yield worker, wait_status

    def _restart_observer(self, problem: str) -> None:
        """Has the observer started again, and writes so, unless it has written that a moment ago."""
        if self._observer_starts == 0:
            return
        self._observer_starts -= 1
        pause_s = self._observer.restart()
        if monotonic() - self._said_s >= _REPEAT_S:
            self._said_s = monotonic()
            _say(f"the observer {problem}; it is started again in {pause_s} s, counts go on without it")

    def _sleep(self, until_s: float | None) -> None:
        """Waits for a signal, for the next child that is due, or until a time on the monotonic clock.

        Raises KeyboardInterrupt at the second SIGINT.
        """
        times_s = [child.due_s for child in (self._observer, *self._workers)] + [until_s]
        next_s = min((time_s for time_s in times_s if time_s is not None), default=None)
        timeout_s = None if next_s is None else max(0.0, next_s - monotonic())
        if select.select([self._signals], [], [], timeout_s)[0]:
            for number in os.read(self._signals, 4096):
                self._is_stopping |= number in (signal.SIGTERM, signal.SIGINT)
                self._interrupts += number == signal.SIGINT
                if number == signal.SIGINT and self._interrupts == 2:
                    raise KeyboardInterrupt


def workers_grace_s(grace_s: float) -> float:
    """Returns how much of a stop's time the workers have.

    >>> workers_grace_s(8.0), workers_grace_s(2.0)
    (5.0, 1.0)
    """
    return max(grace_s - _OBSERVER_GRACE_S, grace_s / 2)


def _signal_pipe() -> int:
    """Has the numbers of the signals that this process gets written into a pipe; returns the end to read from."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # without a handler, no number is written
    return read


def _say(text: str) -> None:
    """Writes a line to stderr, which never waits: a reader that is blocked must not block the service."""
    sys.stderr.write(f"sightline: {text}\n")


def main() -> int:
    """Runs the plan that is the only argument; returns the exit code."""
    unblock_standard_streams()
    try:
        return Supervisor(Plan.from_json(sys.argv[1])).run()
    except OSError as error:
        _say(error.strerror or str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
