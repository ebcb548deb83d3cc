"""The observer as a process of its own: it reads what the workers of a service leave in shared memory.

    python -m sightline_telemetry.observer.process

The supervisor starts it, and starts it again when it dies; all that it has counted lies in shared memory too. It ends
when its lifeline does, after a last export.
"""

import logging.config
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import RLock
from uuid import UUID

from sightline_telemetry.counts.counts import Counts, ForeignCountsError
from sightline_telemetry.events.copies import TornMemoryError
from sightline_telemetry.events.layout import FAULT, body_event
from sightline_telemetry.events.memory import Board
from sightline_telemetry.export.logs import log_config
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.answers import AnswerServer
from sightline_telemetry.observer.checkpoint import Checkpoint
from sightline_telemetry.observer.description import read_described
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.observer.log_handler import send_lines
from sightline_telemetry.observer.observer import Gauges, Observer
from sightline_telemetry.observer.overflow import PLACE, read_overflow
from sightline_telemetry.observer.scrape_port import ScrapePort
from sightline_telemetry.observer.seat_reader import SeatReader
from sightline_telemetry.observer.standstill import Standstill
from sightline_telemetry.requests.recording import EventList
from sightline_telemetry.traces.lost import name_of_signal

_FOLDS_EVERY_S = 0.02
_USUAL_SIGNALS = (0, signal.SIGSEGV, signal.SIGKILL)
_NICE = 2  # below the workers, but at 5 it gets too little of two busy cores: scrapes would be late, the ring full


class BoardObserver:
    """Observes the workers of one board.

    description: as the first worker left it on the board.
    """

    def __init__(self, board: Board, description: bytes) -> None:
        described, options = read_described(description)
        self._board = board
        self._own = EventList()
        faults = Faults(self._own.write_aside)
        resource = {"service.instance.id": str(UUID(bytes=board.instance_id))}
        self.observer = Observer(
            described,
            options,
            faults,
            self._gauges,
            self.fold_all,
            resource=resource,
            start_ns=board.start_unix_ns,
            workers=[board.seat(index).process for index in range(board.n_workers)],
        )
        self.standstill = Standstill(options.standstill_s, self.observer.log.write, ends=options.ends_standstill)
        self._lock = RLock()
        self._faults = faults
        checkpoint = self._checkpoint()
        self.observer.counts = checkpoint.counts
        self.seats = [
            SeatReader(index, board.seat(index), (requests, others), reported)
            for index, (requests, others, reported) in enumerate(checkpoint.seats)
        ]

    def fold(self) -> None:
        """Counts all events that are published now, commits the counts, and only then lets workers overwrite them."""
        with self._lock:
            events, deaths = self._own.read(), []
            for seat in self.seats:
                found = seat.deaths()  # before its rings are read: they are then read to their end
                read, n_refused = seat.read()
                events += read + [body_event(FAULT, PLACE.encode())] * n_refused
                deaths += [(seat.index, ended, in_flight, seat.unfinished(in_flight)) for ended, in_flight in found]
            if not events and not deaths:
                return
            self.observer.take(lambda: events)
            for index, ended, in_flight, unfinished in deaths:
                with self._faults.contained("reading"):
                    self.observer.report_death(index, ended, unfinished, len(in_flight) - len(unfinished))
            seats = tuple((*seat.positions, seat.reported) for seat in self.seats)
            self._board.commit(Checkpoint(seats, self.observer.counts).to_bytes())
            for seat in self.seats:
                seat.release()

    def fold_all(self) -> None:
        """Counts all events, and reads what workers have counted themselves while their rings were full."""
        with self._lock:
            self.fold()
            total: Counts | None = None
            for seat in self.seats:
                with self._faults.contained("reading"):
                    counts = read_overflow(seat.seat, self.observer.table)
                    if counts is not None:
                        total = counts if total is None else total + counts
            self.observer.overflow = total

    def check_standstill(self) -> None:
        """Reports workers whose event loop stands still."""
        with self._faults.contained("reading"):
            self.standstill.check(self.seats, self.observer.table.description.routes)

    def _gauges(self) -> Gauges:
        seats = [seat.seat for seat in self.seats]
        deaths = _added([seat.deaths for seat in seats])
        return Gauges(
            _added([seat.active for seat in seats]),
            _added([seat.queued for seat in seats]),
            {name_of_signal(number): n for number, n in enumerate(deaths) if n or number in _USUAL_SIGNALS},
        )

    def _checkpoint(self) -> Checkpoint:
        """Returns where the observer before this one has stopped, or the beginning."""
        table = self.observer.table
        with suppress(TornMemoryError, ForeignCountsError):
            data = self._board.committed()
            if data is not None:
                return Checkpoint.from_bytes(data, self._board.n_workers, table.digest)
        return Checkpoint(((0, 0, 0),) * self._board.n_workers, Counts.zero(table))


def _added(words: Sequence[memoryview]) -> list[int]:
    return [sum(each) for each in zip(*words, strict=True)]


def run(inheritance: Inheritance) -> bool:
    """Observes until the lifeline ends; returns False if stdout does not take the log."""
    board = Board.attach(inheritance.board)
    description = board.description()
    while description is None:
        if _has_ended(inheritance.lifeline, _FOLDS_EVERY_S):
            return True
        description = board.description()
    process = BoardObserver(board, description)
    process.observer.start()  # before the first fold, which may find traces to write
    send_lines(process.observer.log.write)
    if inheritance.answers is not None:
        AnswerServer(inheritance.answers, process).start()
    if inheritance.metrics is not None:
        ScrapePort(inheritance.metrics, process.observer.providers.scrape.render).start()
    while not _has_ended(inheritance.lifeline, _FOLDS_EVERY_S):
        process.fold()
        process.check_standstill()
    return process.observer.stop()


def _has_ended(lifeline: int, timeout_s: float) -> bool:
    ready, _, _ = select.select([lifeline], [], [], timeout_s)
    return bool(ready)


def main() -> int:
    """Runs the observer that the supervisor has started; returns the exit code."""
    inheritance = Inheritance.take()
    if inheritance is None:
        sys.stderr.write("the observer is started by `sightline serve`\n")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends after the workers, when the supervisor says so
    with suppress(OSError):
        os.nice(_NICE)
    logging.config.dictConfig(log_config())
    if run(inheritance):
        sys.stdout.flush()
    os._exit(0)  # all is sent; an exporter's thread that still waits for a dead endpoint must not keep the supervisor


if __name__ == "__main__":
    sys.exit(main())
