"""The observer as a process of its own: it reads what the workers of a service leave in shared memory.

    python -m sightline_telemetry.observer.process

The supervisor starts it, or the master of a forking server, and starts it again when it dies; all that it has counted
lies in shared memory too. It ends when its lifeline does, after a last export.
"""

import logging
import logging.config
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from uuid import UUID

from sightline_telemetry.access.certificate import Certificate
from sightline_telemetry.access.host_names import host_names
from sightline_telemetry.access.key_file import KeyFile
from sightline_telemetry.access.watched_file import Rereader, UnusableFileError
from sightline_telemetry.counts.series import CHECKPOINT
from sightline_telemetry.events.layout import FAULT, body_event
from sightline_telemetry.events.memory import Board
from sightline_telemetry.events.seats import Ended
from sightline_telemetry.events.slots import InFlight
from sightline_telemetry.export.logs import log_config
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.answers import AnswerServer
from sightline_telemetry.observer.checkpoint import Checkpoint, read_checkpoint
from sightline_telemetry.observer.description import read_described
from sightline_telemetry.observer.gauges import read_gauges
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.observer.log_handler import send_lines
from sightline_telemetry.observer.observer import Observer
from sightline_telemetry.observer.overflow import PLACE, read_overflows
from sightline_telemetry.observer.scrape_port import ScrapeAccess, ScrapePort
from sightline_telemetry.observer.seat_reader import SeatReader
from sightline_telemetry.observer.standstill import Standstill
from sightline_telemetry.requests.recording import EventList
from sightline_telemetry.standard_streams import StandardStreams, unblock_standard_streams

_log = logging.getLogger(__name__)

_FOLDS_EVERY_S = 0.02
_NICE = 2  # below the workers, but at 5 it gets too little of two busy cores: scrapes would be late, the ring full


class BoardObserver:
    """Observes the workers of one board.

    description: as the first worker left it on the board.
    """

    def __init__(self, board: Board, description: bytes) -> None:
        described, options = read_described(description)
        self.options = options
        self._board = board
        self._own = EventList()
        self.faults = faults = Faults(self._own.write_aside)
        resource = {"service.instance.id": str(UUID(bytes=board.instance_id))}
        self._seats = seats = [board.seat(index) for index in range(board.n_workers)]
        self.observer = Observer(
            described,
            options,
            faults,
            lambda: read_gauges(seats),
            self.fold_all,
            resource=resource,
            start_ns=board.start_unix_ns,
            workers=[seat.process for seat in seats],
        )
        self.standstill = Standstill(options.standstill_s, self.observer.write_line, ends=options.ends_standstill)
        self._lock = Lock()
        committed = None
        with faults.contained(CHECKPOINT):
            committed = board.committed()
        checkpoint = read_checkpoint(committed, seats, self.observer.table, faults)
        self.observer.counts = checkpoint.counts
        self.seats = [
            SeatReader(index, seat, (requests, others), reported)
            for index, (seat, (requests, others, reported)) in enumerate(zip(seats, checkpoint.seats, strict=True))
        ]

    def fold(self) -> None:
        """Counts all events that are published now, block by block; then reports the workers that have died."""
        with self._lock:
            deaths = [(seat, *each) for seat in self.seats for each in seat.deaths()]
            ends = [seat.published for seat in self.seats]  # after the deaths: what the dead have published is read
        while self._fold_block(ends):
            pass
        if deaths:
            self._report(deaths)

    def fold_all(self) -> None:
        """Counts all events, and reads what workers have counted themselves while their rings were full."""
        self.fold()
        with self._lock:  # held until it is stored: what was read later is stored later
            self.observer.overflow = read_overflows(self._seats, self.observer.table, self.faults)

    def check_standstill(self) -> None:
        """Reports workers whose event loop stands still."""
        with self.faults.contained("reading"):
            self.standstill.check(self.seats, self.observer.table.description)

    def _fold_block(self, ends: list[tuple[int, int]]) -> bool:
        """Counts a block of events, commits the counts, and only then lets workers overwrite the events.

        ends: positions in the rings of each seat, up to which is read. Returns False when all of it was read, or the
        rest cannot be read yet.
        """
        with self._lock:
            before = [seat.positions for seat in self.seats]
            events = self._own.read()
            for seat, end in zip(self.seats, ends, strict=True):
                read, n_refused = seat.read(end)
                events += read + [body_event(FAULT, PLACE.encode())] * n_refused
            has_moved = before != [seat.positions for seat in self.seats]
            if events or has_moved:
                self.observer.take(lambda: events)
                self._commit()
            return has_moved and any(seat.is_before(end) for seat, end in zip(self.seats, ends, strict=True))

    def _report(self, deaths: list[tuple[SeatReader, Ended, list[InFlight]]]) -> None:
        with self._lock:
            for seat, ended, in_flight in deaths:
                unfinished = seat.unfinished(in_flight)
                with self.faults.contained("reading"):
                    self.observer.report_death(seat.index, ended, unfinished, len(in_flight) - len(unfinished))
                seat.reported = ended.generation
            self._commit()

    def _commit(self) -> None:
        seats = tuple((*seat.positions, seat.reported) for seat in self.seats)
        self._board.commit(Checkpoint(seats, self.observer.counts).to_bytes())
        for seat in self.seats:
            seat.release()


def run(inheritance: Inheritance, streams: StandardStreams) -> None:
    """Observes until the lifeline ends; what the streams of this process drop is counted."""
    board = Board.attach(inheritance.board)
    description = board.description()
    while description is None:
        if _has_ended(inheritance.lifeline, _FOLDS_EVERY_S):
            return
        description = board.description()
    process = BoardObserver(board, description)
    streams.count_losses(process.faults.lose)
    process.observer.start()  # before the first fold, which may find traces to write
    send_lines(process.observer.write_line)
    if inheritance.answers is not None:
        AnswerServer(inheritance.answers, process, process.faults).start()
    if inheritance.metrics is not None:
        _open_scrape_port(inheritance.metrics, process)
    board.observer.ready = board.observer.generation
    while not _has_ended(inheritance.lifeline, _FOLDS_EVERY_S):
        process.fold()
        process.check_standstill()
    process.observer.stop()
    if inheritance.observer_socket is not None:
        Path(inheritance.observer_socket).unlink(missing_ok=True)


def _open_scrape_port(descriptor: int, process: BoardObserver) -> None:
    """Answers scrapes on a port of their own, which asks for keys as the service's port does."""
    options, rereader = process.options, Rereader()
    try:
        keys = KeyFile(Path(options.api_keys)) if options.api_keys else None
        certificate = Certificate(Path(options.tls_cert), Path(options.tls_key)) if options.tls_cert else None
    except UnusableFileError as error:  # it could be used when the service started: the observer must not end by it
        _log.error("the port for scrapes answers nothing until the observer starts again: %s", error)
        return
    for file in (keys, certificate):
        if file is not None:
            rereader.add(file.look)
    rereader.start()
    access = ScrapeAccess(
        host_names(options.allowed_hosts), keys, None if certificate is None else certificate.context()
    )
    ScrapePort(descriptor, process.observer.scrape, process.faults, access).start()


def _has_ended(lifeline: int, timeout_s: float) -> bool:
    ready, _, _ = select.select([lifeline], [], [], timeout_s)
    return bool(ready)


def main() -> int:
    """Runs the observer that the supervisor has started; returns the exit code."""
    streams = unblock_standard_streams()
    inheritance = Inheritance.take()
    if inheritance is None:
        sys.stderr.write("the observer is started by `sightline serve`, or by a server that calls `observe`\n")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends after the workers, when the supervisor says so
    with suppress(OSError):
        os.nice(_NICE)
    logging.config.dictConfig(log_config())
    run(inheritance, streams)
    streams.drain()
    os._exit(0)  # all is sent; an exporter's thread that still waits for a dead endpoint must not keep the supervisor


if __name__ == "__main__":
    sys.exit(main())
