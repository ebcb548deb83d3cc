"""Scrapes of a board that no observer reads: a worker renders them, and changes nothing on the board."""

from uuid import UUID

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.series import CHECKPOINT, SeriesTable
from sightline_telemetry.events.copies import TornMemoryError
from sightline_telemetry.events.memory import Board
from sightline_telemetry.events.ring import RingReader
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.reading import Reading
from sightline_telemetry.export.sdk import Providers
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.checkpoint import read_checkpoint
from sightline_telemetry.observer.gauges import read_gauges
from sightline_telemetry.observer.overflow import read_overflows
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.requests.recording import EventList
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.tail_sampling import HeadSampled

_TRIES = 5


class BoardScrape:
    """Renders what the last observer has committed, plus all events behind that, plus what workers have counted.

    Events stay in their rings for the next observer, which logs and traces them; here they are only counted, each of
    them once as long as no observer commits. There are no exemplars.
    """

    def __init__(self, board: Board, table: SeriesTable) -> None:
        self._board = board
        self._table = table
        self._seats = [board.seat(index) for index in range(board.n_workers)]
        self._own = EventList()
        self._faults = Faults(self._own.write_aside)
        self._watch = Watch(
            table, HeadSampled(), Exemplars(0.0), None, lambda _: None, self._faults, logs_requests=False
        )
        self._start(None)
        self._providers = Providers(
            Producer(table, self._read, self._faults, start_ns=board.start_unix_ns),
            environment={},  # nothing is exported: that is the observer's part
            is_guest=True,
            attributes={"service.instance.id": str(UUID(bytes=board.instance_id))},
            workers=[seat.process for seat in self._seats],
        )
        self._providers.start()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the body of a scrape and its content type, for an `Accept` header; any thread may call it.

        Raises TornMemoryError if observers commit more quickly than this reads.
        """
        return self._providers.scrape.render(accept)

    def _read(self) -> Reading:
        counts, gauges = self._count(), read_gauges(self._seats)
        models = self._table.description.models
        queued = {model.id: n for model, n in zip(models, gauges.queued, strict=False)}
        return Reading(counts, gauges.active, queued, self._watch.labels, deaths=gauges.deaths)

    def _count(self) -> Counts:
        """Counts again if an observer has committed meanwhile: it lets workers overwrite what was read here."""
        for _ in range(_TRIES):
            committed = self._committed()
            if committed != self._started_at:
                self._start(committed)
            for ring in self._rings:
                self._read_on(ring)
            overflow = read_overflows(self._seats, self._table, self._faults)
            self._counts += self._watch.watch(self._own.read())
            if self._committed() == committed:
                return self._counts if overflow is None else self._counts + overflow
        raise TornMemoryError("an observer commits while its board is read as one without an observer")

    def _committed(self) -> bytes | None:
        with self._faults.contained(CHECKPOINT):
            return self._board.committed()
        return None

    def _start(self, committed: bytes | None) -> None:
        """Begins where an observer has stopped."""
        checkpoint = read_checkpoint(committed, self._seats, self._table, self._faults)
        self._started_at = committed
        self._counts = checkpoint.counts
        self._rings = [
            RingReader(memory, position)
            for seat, (requests, others, _) in zip(self._seats, checkpoint.seats, strict=True)
            for memory, position in ((seat.request_ring, requests), (seat.side_ring, others))
        ]

    def _read_on(self, ring: RingReader) -> None:
        """Counts the events of one ring up to where it stands now, or up to one that is not whole."""
        end, before = ring.published, -1
        while before < ring.position < end:
            before = ring.position
            self._counts += self._watch.watch(ring.read(end))
