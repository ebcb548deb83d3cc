"""A ring of events in shared memory: one process writes, another reads, and neither takes a lock.

Positions count bytes from the beginning of time and never fall; a position modulo the capacity is a place in the ring.
So both sides survive each other's restarts: a new writer goes on behind the last published event, a new reader at the
position that its predecessor committed.

    words    published (stored by the writer) ... released (stored by the reader), each on a cache line of its own
    data     records: size u32, checksum u32, sequence u64, then the payload, padded to 16 bytes

The writer publishes an event by one store of eight bytes, after its record is written. A processor with weak memory
order (ARM) may show that store to the reader before the record, and Python has no fence. Therefore a record carries
its own position, which also seeds its checksum: what an earlier lap of the ring left in the same place, or a record
that is written in part, is not taken for an event. The reader stops there and reads it a moment later.
"""

from struct import Struct
from zlib import crc32

# A store by `memoryview.cast("Q")` is one instruction; `struct` with a fixed byte order ("<Q") writes byte by byte.
_PUBLISHED = 0
_RELEASED = 8
_WORDS_BYTES = 128

_RECORD = Struct("IIQ")
_RECORD_BYTES = _RECORD.size
_SKIP = 0xFFFF_FFFF  # as a record's size: nothing follows before the end of the ring
_MASK = 0xFFFF_FFFF
_PLAUSIBLE = 2**62 - _RECORD_BYTES

_READ_BYTES = 1 << 20


def _parts(memory: memoryview) -> tuple[memoryview, memoryview]:
    """Returns the words and the data of a ring. The data's size is a multiple of 16, so that a skip record fits."""
    capacity = (len(memory) - _WORDS_BYTES) & -_RECORD_BYTES
    if capacity < 4 * _RECORD_BYTES:
        raise ValueError(f"a ring needs at least {_WORDS_BYTES + 4 * _RECORD_BYTES} bytes, not {len(memory)}")
    return memory[:_WORDS_BYTES].cast("Q"), memory[_WORDS_BYTES : _WORDS_BYTES + capacity]


class RingWriter:
    """Writes events into a ring; belongs to one thread of one process.

    memory: the ring, zeros when it is used for the first time. A used ring is continued behind its last event.
    Raises ValueError when the memory is too small.
    """

    def __init__(self, memory: memoryview) -> None:
        self._words, self._data = _parts(memory)
        self._capacity = len(self._data)
        self.max_event_bytes = self._capacity // 4  # with a skip record before it, such an event still fits
        self._position, released = self._words[_PUBLISHED], self._words[_RELEASED]
        if self._position % _RECORD_BYTES or not 0 <= self._position - released <= self._capacity:
            # Another program has overwritten the words. The ring goes on from a place that it can have; its reader has
            # a position of its own, and refuses what it has not read.
            self._position &= _PLAUSIBLE
            self._words[_PUBLISHED] = self._words[_RELEASED] = self._position
        self._lap = self._position - self._position % self._capacity  # where this lap of the ring began
        self._bound = self._position  # up to here the ring is known to be free, on this lap

    @property
    def published(self) -> int:
        """The position behind the last published event."""
        return self._position

    def append(self, payload: bytes) -> bool:
        """Publishes one event; returns False, and writes nothing, if the ring has no room or the event is too large."""
        size = len(payload)
        start = self._position
        end = start + (size + 31 & -16)
        if end > self._bound or size > self.max_event_bytes:
            return self._append_beyond(payload)
        at = start - self._lap
        _RECORD.pack_into(self._data, at, size, crc32(payload, start >> 4 & _MASK), start)
        self._data[at + 16 : at + 16 + size] = payload
        # The own position first: if an exception came between the two, the next event would publish this one too.
        self._position = self._words[_PUBLISHED] = end
        return True

    def _append_beyond(self, payload: bytes) -> bool:
        """Appends an event after a look at what the reader has released, on the next lap if need be."""
        size = len(payload)
        start = self._position
        step = size + 31 & -16
        lap_end = self._lap + self._capacity
        if start + step > lap_end:
            start = lap_end
        # No more than this is free, whatever another program stored into the reader's word.
        free_until = min(self._words[_RELEASED], self._position) + self._capacity
        if size > self.max_event_bytes or start + step > free_until:
            return False
        if self._position < start:
            at = self._position - self._lap
            _RECORD.pack_into(self._data, at, _SKIP, self._position >> 4 & _MASK, self._position)
        at = start % self._capacity
        _RECORD.pack_into(self._data, at, size, crc32(payload, start >> 4 & _MASK), start)
        self._data[at + 16 : at + 16 + size] = payload
        self._position = self._words[_PUBLISHED] = start + step
        self._lap = start - at
        self._bound = min(free_until, self._lap + self._capacity)
        return True


class RingReader:
    """Reads events from a ring, from `position` on; belongs to one thread of one process.

    The position may be set: a caller that refuses a torn ring goes on at `published`, and releases what it left out.
    """

    def __init__(self, memory: memoryview, position: int) -> None:
        self._words, self._data = _parts(memory)
        self._capacity = len(self._data)
        self.position = position
        self.is_torn = False
        """Whether the last `read` stopped before a published event that is not whole."""

    @property
    def published(self) -> int:
        """The position behind the last event that the writer has published."""
        return self._words[_PUBLISHED]

    @property
    def released(self) -> int:
        """The position up to which the writer may overwrite."""
        return self._words[_RELEASED]

    def release(self, position: int) -> None:
        """Lets the writer overwrite everything before `position`."""
        self._words[_RELEASED] = position

    def read(self, until: int | None = None, limit_bytes: int = _READ_BYTES) -> list[bytes]:
        """Returns the next whole events, and advances `position` behind them.

        until: a position that `published` had; later events are left for the next call.
        limit_bytes: the call ends after the event that reaches this size, so that a long backlog comes in parts.
        """
        events: list[bytes] = []
        published = self._words[_PUBLISHED]
        start = self.position
        self.is_torn = not 0 <= published - start <= self._capacity or start % _RECORD_BYTES != 0
        if self.is_torn:
            return events
        end = published if until is None else min(until, published)
        stop = min(end, start + limit_bytes)
        while start < stop:
            event, start = self._record(start, published)
            if start == self.position:
                self.is_torn = True
                break
            if event is not None:
                events.append(event)
            self.position = start
        return events

    def _record(self, start: int, published: int) -> tuple[bytes | None, int]:
        """Returns the event at `start`, None for a skip record, and the position behind it: `start` if it is torn."""
        at = start % self._capacity
        size, checksum, sequence = _RECORD.unpack_from(self._data, at)
        if sequence != start:
            return None, start
        if size == _SKIP:
            lap_end = start - at + self._capacity
            return None, lap_end if checksum == start >> 4 & _MASK and lap_end <= published else start
        end = start + (size + 31 & -16)
        if end > published or at + end - start > self._capacity:
            return None, start
        payload = bytes(self._data[at + 16 : at + 16 + size])  # first copied, then checked: what is checked is returned
        return (payload, end) if crc32(payload, start >> 4 & _MASK) == checksum else (None, start)
