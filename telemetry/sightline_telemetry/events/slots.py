"""Requests in flight, in shared memory: a request that kills its process is still found there.

A table has slots of 64 bytes. A request takes one when it begins and releases it when its answer is written; which
slots are free, only the writing process knows. Readers look at the slots' first words.

    slot     state u64: how often this table was written, times 256, plus the phase; 0 in a free slot
             trace id (high, low) u64, span id u64, start (Unix time, monotonic clock) u64 in ns, route u32, method u32

The state is stored last, by one store of eight bytes, and counts on: a reader that sees the same state before and
after it copied the rest has read one request, not parts of two.
"""

from struct import Struct
from sys import byteorder
from typing import NamedTuple

READING = 1  # the request's body is read and checked
WAITING = 2  # for other requests, or for the model's thread
PREDICTING = 3
ANSWERED = 4  # its event is published; its answer may not be written yet

SLOTS_FULL = "slots_full"
"""The place of faults for requests without a slot, which no other process sees in flight."""

SLOT_BYTES = 64
_SLOT_WORDS = SLOT_BYTES // 8
_REQUEST = Struct("QQQQQII")
_PHASE_AT = 0 if byteorder == "little" else 7  # the lowest byte of the state


class InFlight(NamedTuple):
    """One request that a worker has begun and not finished."""

    slot: int
    phase: int
    trace_id: int
    span_id: int
    unix_ns: int
    start_ns: int
    route: int
    method: int


class SlotTable:
    """The slots of one worker; `take`, `phase`, `release` and `clear` belong to one thread of one process.

    memory: a multiple of 64 bytes, zeros when it is used for the first time. The writer of a used table calls `clear`.
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._words = memory[: len(memory) & -SLOT_BYTES].cast("Q")
        self._free = self._all()
        self._takes = 0

    def _all(self) -> list[int]:
        # The lowest slots are used first, and again: few cache lines and pages are touched.
        return list(range(len(self._words) // _SLOT_WORDS - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._words) // _SLOT_WORDS

    def take(
        self, trace_hi: int, trace_lo: int, span_id: int, unix_ns: int, start_ns: int, route: int, method: int
    ) -> int:
        """Writes a request that begins, in phase READING; returns its slot, or -1 if none is free."""
        if not self._free:
            return -1
        slot = self._free[-1]  # popped when all is well: a refused value must not cost a slot
        self._takes = takes = self._takes + 1
        _REQUEST.pack_into(self._memory, slot * 64 + 8, trace_hi, trace_lo, span_id, unix_ns, start_ns, route, method)
        self._words[slot * 8] = takes << 8 | READING
        return self._free.pop()

    def phase(self, slot: int, phase: int) -> None:
        """Stores the phase that a request has come to; a request without a slot (-1) is passed over."""
        if slot >= 0:
            self._memory[slot * SLOT_BYTES + _PHASE_AT] = phase

    def release(self, slot: int) -> None:
        """Frees the slot of a request that has ended; a request without a slot (-1) is passed over."""
        if slot >= 0:
            self._words[slot * 8] = 0
            self._free.append(slot)

    def clear(self) -> None:
        """Frees all slots: what an earlier process left in them is gone."""
        for slot in range(len(self)):
            if self._words[slot * 8]:  # a page that was never used stays untouched
                self._words[slot * 8] = 0
        self._free = self._all()

    def read(self) -> list[InFlight]:
        """Returns the requests in flight, in the order of their slots; any process may call it.

        A request that ends or begins while its slot is read is left out.
        """
        found = []
        for slot in range(len(self)):
            state = self._words[slot * 8]
            if state:
                high, low, span_id, unix_ns, start_ns, route, method = _REQUEST.unpack_from(
                    self._memory, slot * SLOT_BYTES + 8
                )
                now = self._words[slot * 8]
                if now >> 8 == state >> 8:
                    found.append(InFlight(slot, now & 255, high << 64 | low, span_id, unix_ns, start_ns, route, method))
        return found
