"""What a worker counts itself while its ring is full: in shared memory, so that a kill loses none of it."""

from collections.abc import Iterable
from struct import Struct

from sightline_telemetry.counts.counts import Counts, ForeignCountsError
from sightline_telemetry.counts.fold import Block
from sightline_telemetry.counts.series import RING_FULL, SeriesTable
from sightline_telemetry.events.copies import TornMemoryError
from sightline_telemetry.events.layout import COUNTED, REQUEST, read_request, type_of
from sightline_telemetry.events.ring import RingReader, RingWriter
from sightline_telemetry.events.seats import Seat
from sightline_telemetry.faults import Faults

PLACE = RING_FULL
"""Where a request is counted as a fault whose trace and log line were lost."""

_POSITION = Struct("<Q")
_TRIES = 20


class Overflow:
    """Counts events that found no room, in the worker that writes them; belongs to the event loop's thread.

    Events are gathered in a block and folded together when it is full: one alone would cost its request as much as
    all of them.
    is_new: what an earlier worker had counted cannot be read, so this one begins at zero.
    """

    def __init__(self, seat: Seat, table: SeriesTable) -> None:
        self._seat = seat
        self._table = table
        self._writer = RingWriter(seat.overflow_block)
        self.is_new = False
        try:
            position, self._counts = _committed(seat, table)
        except (TornMemoryError, ForeignCountsError):
            position, self._counts, self.is_new = self._writer.published, Counts.zero(table), True
            self._commit(position)
        self._reader = RingReader(seat.overflow_block, position)

    def add(self, event: bytes) -> None:
        """Counts an event."""
        if self._writer.append(event):
            return
        self._fold(self._reader.read(limit_bytes=len(self._seat.overflow_block)))
        if not self._writer.append(event):  # larger than the block allows
            self._fold([event])

    def _fold(self, events: list[bytes]) -> None:
        self._counts += fold_lost(events, self._table)
        self._commit(self._reader.position)
        self._reader.release(self._reader.position)

    def _commit(self, position: int) -> None:
        self._seat.overflow.commit(_POSITION.pack(position) + self._counts.to_bytes())


def read_overflow(seat: Seat, table: SeriesTable) -> Counts | None:
    """Returns what a worker has counted itself so far; None if its ring was never full. Any process may call it.

    Raises TornMemoryError if no consistent state can be read.
    """
    for _ in range(_TRIES):
        position, counts = _committed(seat, table)
        reader = RingReader(seat.overflow_block, position)
        published = reader.published
        if published == position == 0:
            return None
        events = reader.read(published, limit_bytes=len(seat.overflow_block))
        if reader.position == published and _committed(seat, table)[0] == position:
            return counts + fold_lost(events, table)
    raise TornMemoryError("the events that a worker counts itself cannot be read")


def read_overflows(seats: Iterable[Seat], table: SeriesTable, faults: Faults) -> Counts | None:
    """Returns what all workers have counted themselves; None if no ring was ever full.

    What cannot be read is noted as a fault, and left out.
    """
    total: Counts | None = None
    for seat in seats:
        with faults.contained("reading"):
            counts = read_overflow(seat, table)
            if counts is not None:
                total = counts if total is None else total + counts
    return total


def fold_lost(events: list[bytes], table: SeriesTable) -> Counts:
    """Folds events whose log line and trace are lost, which is counted too."""
    block = Block(table)
    for event in events:
        try:
            kind = type_of(event)
            if kind == REQUEST:
                block.add_request(read_request(event))
                block.add_fault(PLACE)
            elif kind in COUNTED:
                block.add(event)
        except Exception:  # an event that cannot be read costs itself alone
            block.add_fault("reading")
    for _ in range(block.drop_misfits()):
        block.add_fault("reading")
    return block.counts()


def _committed(seat: Seat, table: SeriesTable) -> tuple[int, Counts]:
    data = seat.overflow.committed()
    if data is None:
        return 0, Counts.zero(table)
    (position,) = _POSITION.unpack_from(data)
    return position, Counts.from_bytes(data[_POSITION.size :], table.digest)
