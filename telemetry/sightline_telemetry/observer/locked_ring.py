"""The ring of a seat, for writers that are threads and may be several processes."""

from threading import Lock

from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.ring import RingWriter
from sightline_telemetry.events.seats import Seat
from sightline_telemetry.observer.overflow import Overflow
from sightline_telemetry.observer.seat_locks import SeatLocks


class LockedRing:
    """Writes events into the request ring of a seat, one at a time; a full ring loses no count.

    number: of the lock that writers in different processes take. A writer that is killed leaves the ring whole, and
    the system releases its lock. A writer that stands still while it has the lock holds up the others of its seat.
    """

    def __init__(self, seat: Seat, table: SeriesTable, locks: SeatLocks, number: int) -> None:
        self._seat = seat
        self._table = table
        self._locks = locks
        self._number = number
        self._lock = Lock()

    def write(self, event: bytes) -> None:
        """Takes an event from any thread."""
        with self._lock, self._locks.held(self._number):
            # Made for each event, because another process may have written since the last one.
            if not RingWriter(self._seat.request_ring).append(event):
                Overflow(self._seat, self._table).add(event)
