"""What the observer commits: its counts, and how far it has read; a new observer continues there."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Self

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.series import CHECKPOINT, SeriesTable
from sightline_telemetry.events.ring import RingReader
from sightline_telemetry.events.seats import Seat
from sightline_telemetry.faults import Faults

_SEAT = Struct("<3Q")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Counts, and per worker the positions in both rings and the last generation whose death was reported."""

    seats: tuple[tuple[int, int, int], ...]
    counts: Counts

    def to_bytes(self) -> bytes:
        """Writes it."""
        return b"".join([*(_SEAT.pack(*seat) for seat in self.seats), self.counts.to_bytes()])

    @classmethod
    def from_bytes(cls, data: bytes, n_workers: int, digest: bytes) -> Self:
        """Reads what `to_bytes` wrote. Raises ForeignCountsError for counts of another description."""
        at = n_workers * _SEAT.size
        return cls(tuple(_SEAT.iter_unpack(data[:at])), Counts.from_bytes(data[at:], digest))


def read_checkpoint(committed: bytes | None, seats: Sequence[Seat], table: SeriesTable, faults: Faults) -> Checkpoint:
    """Returns where an observer has stopped.

    committed: what it has committed; None if there is nothing. What cannot be read, or belongs to another description,
    is noted as a fault: counting then begins at 0, with the events that workers must still keep.
    """
    if committed is not None:
        with faults.contained(CHECKPOINT):
            return Checkpoint.from_bytes(committed, len(seats), table.digest)
    return Checkpoint(tuple(_beginning(seat) for seat in seats), Counts.zero(table))


def _beginning(seat: Seat) -> tuple[int, int, int]:
    requests, others = (RingReader(ring, 0).released for ring in (seat.request_ring, seat.side_ring))
    return requests, others, 0
