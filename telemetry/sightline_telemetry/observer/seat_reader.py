"""Reads the rings of one worker, and its slots when it has died."""

import logging
from contextlib import suppress
from time import monotonic

from sightline_telemetry.events.layout import REQUEST, UnknownEventError, read_request
from sightline_telemetry.events.ring import RingReader
from sightline_telemetry.events.seats import Ended, Seat
from sightline_telemetry.events.slots import ANSWERED, InFlight

TORN_S = 1.0
"""An event that is not whole for so long will never be: the ring is refused up to what is published."""

_log = logging.getLogger(__name__)


class SeatReader:
    """Reads what one worker leaves.

    positions: of both rings, up to which their events are counted.
    reported: the last generation whose death was reported; what `deaths` has returned is to be reported next.
    """

    def __init__(self, index: int, seat: Seat, positions: tuple[int, int], reported: int) -> None:
        self.index = index
        self.seat = seat
        self._rings = tuple(
            RingReader(memory, position)
            for memory, position in zip((seat.request_ring, seat.side_ring), positions, strict=True)
        )
        self._torn_since_s: dict[RingReader, float] = {}
        self._last_request: bytes | None = None
        self.reported = self._seen = reported

    @property
    def positions(self) -> tuple[int, int]:
        """The positions up to which events were read."""
        requests, others = self._rings
        return requests.position, others.position

    @property
    def published(self) -> tuple[int, int]:
        """The positions behind the last published events."""
        requests, others = self._rings
        return requests.published, others.published

    def is_before(self, end: tuple[int, int]) -> bool:
        """Returns whether events before these positions in the two rings are not read yet."""
        return any(position < each for position, each in zip(self.positions, end, strict=True))

    def read(self, end: tuple[int, int]) -> tuple[list[bytes], int]:
        """Returns the next events, about 1 MB per ring, and how many rings were refused because of a torn one.

        end: positions that `published` had; later events are left.
        """
        events: list[bytes] = []
        n_refused = 0
        for ring, until in zip(self._rings, end, strict=True):
            before, published = ring.position, ring.published
            if before > published:  # another program has overwritten the word
                n_refused += 1
                ring.position = published
            elif before < until:
                found = ring.read(until)
                self._note_last(found)
                events += found
                if ring.position == before:
                    n_refused += self._refuse_if_old(ring)
                else:
                    self._torn_since_s.pop(ring, None)
        return events, n_refused

    def release(self) -> None:
        """Lets the worker overwrite what was counted."""
        for ring in self._rings:
            ring.release(ring.position)

    def deaths(self) -> list[tuple[Ended, list[InFlight]]]:
        """Returns the worker's processes that have ended since the last call, each with all that has a slot.

        Called before the rings are read to their ends, and `unfinished` after it.
        """
        found = []
        current = self.seat.process.generation
        for generation in range(max(self._seen, current - 2) + 1, current + 1):
            ended = self.seat.process.ended(generation)
            if ended is not None:
                found.append((ended, self.seat.slots(generation).read()))
            if ended is not None or generation < current:
                self._seen = generation
        return found

    def unfinished(self, in_flight: list[InFlight]) -> list[InFlight]:
        """Leaves out the requests that were published as ended, but were not released any more.

        A worker may die between its last event and the phase that follows it.
        """
        found = [each for each in in_flight if each.phase != ANSWERED]
        if self._last_request is not None:
            with suppress(UnknownEventError):  # noted where it is counted
                last = read_request(self._last_request)
                found = [each for each in found if (each.slot, each.span_id) != (last.slot, last.span_id)]
        return found

    def _note_last(self, events: list[bytes]) -> None:
        self._last_request = next((each for each in reversed(events) if each[0] == REQUEST), self._last_request)

    def _refuse_if_old(self, ring: RingReader) -> int:
        now_s = monotonic()
        if now_s - self._torn_since_s.setdefault(ring, now_s) < TORN_S:
            return 0
        _log.error("worker %d: a torn event; its ring is refused up to position %d", self.index, ring.published)
        ring.position = ring.published
        del self._torn_since_s[ring]
        return 1
