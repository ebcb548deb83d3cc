"""What the observer commits: its counts, and how far it has read; a new observer continues there."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from sightline_telemetry.counts.counts import Counts

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
