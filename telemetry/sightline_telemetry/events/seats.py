"""A worker's part of the shared memory: words about its process, its rings, its slots, its overflow.

Which process stores a word: the supervisor what begins and ends with a process, the worker the rest.
"""

from time import perf_counter_ns
from typing import NamedTuple

from sightline_telemetry.events.copies import TwoCopies
from sightline_telemetry.events.http_codes import METHODS, SCHEMES
from sightline_telemetry.events.slots import SLOT_BYTES, SlotTable

N_ACTIVE = len(METHODS) * len(SCHEMES)
N_QUEUES = 8
N_DEATHS = 65  # one word per signal; the first is of processes that ended by themselves

PAGE_BYTES = 16_384  # the largest page of the systems that this runs on: no two parts share a page
PROCESS_WORDS = 16
_PID, _GENERATION, _READY = 0, 1, 2
_ENDED = 8  # two records of four words each, by parity of the generation
_HEARTBEAT, _ASKED = 17, 18
_ACTIVE_AT = 24
_DEATHS_AT = 48
_QUEUED_AT = 114
_WORDS_BYTES = 1024
_GRANTED_BITS = 20


class SeatSizes(NamedTuple):
    """How many bytes each part of a seat may grow to, and how many requests in flight have a slot."""

    request_ring: int = 8 << 20
    side_ring: int = 2 << 20
    overflow: int = 4 << 20
    overflow_block: int = 128 << 10
    slots: int = 1024

    def parts(self) -> list[int]:
        """Returns the sizes of a seat's parts in their order."""
        table = self.slots * SLOT_BYTES
        overflow = TwoCopies.reserved_bytes(self.overflow)
        return [_WORDS_BYTES, self.request_ring, self.side_ring, table, table, overflow, self.overflow_block]

    def total_bytes(self) -> int:
        """Returns the size of a whole seat."""
        return sum(page_aligned(part) for part in self.parts())


def page_aligned(size_bytes: int) -> int:
    """Returns the size of the pages that hold so many bytes.

    >>> page_aligned(1), page_aligned(16_384)
    (16384, 16384)
    """
    return size_bytes + PAGE_BYTES - 1 & -PAGE_BYTES


class Ended(NamedTuple):
    """How a process ended, and when the supervisor found it so, on the clock of all marks in time."""

    generation: int
    pid: int
    wait_status: int
    ended_ns: int


class ProcessWords:
    """What is known of one process that the supervisor starts again when it dies.

    The process stores `ready`, the supervisor the rest.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def generation(self) -> int:
        """How often a process was started here: 1 for the first, 0 before it."""
        return self._words[_GENERATION]

    @property
    def pid(self) -> int:
        """The id of the running process, 0 if there is none."""
        return self._words[_PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[_PID] = pid

    @property
    def ready(self) -> int:
        """The generation of the last process that was able to serve, 0 if there was none."""
        return self._words[_READY]

    @ready.setter
    def ready(self, generation: int) -> None:
        self._words[_READY] = generation

    @property
    def is_serving(self) -> bool:
        """Whether a process runs, and was able to serve."""
        return self.pid != 0 and self.ready == self.generation

    def begin(self) -> int:
        """Counts one more process, which is about to be started; returns its generation."""
        self._words[_GENERATION] += 1
        return self._words[_GENERATION]

    def end(self, wait_status: int) -> None:
        """Stores how the running process ended, as `os.waitpid` returned it."""
        generation = self._words[_GENERATION]
        at = _ENDED + 4 * (generation & 1)
        self._words[at] = 0  # no reader takes the new words for the old generation's
        self._words[at + 1] = self._words[_PID]
        self._words[at + 2] = wait_status
        self._words[at + 3] = perf_counter_ns()
        self._words[at] = generation
        self._words[_PID] = 0

    def ended(self, generation: int) -> Ended | None:
        """Returns how the process of a generation ended; None if it runs, or if two more have ended since."""
        at = _ENDED + 4 * (generation & 1)
        record = Ended(*self._words[at : at + 4])
        return record if record.generation == generation == self._words[at] != 0 else None


class Seat:
    """The shared memory of one worker.

    process: what the supervisor knows of its process.
    request_ring, side_ring: memory for `RingWriter` and `RingReader`.
    overflow: what was counted when the request ring was full; overflow_block: memory of a small ring for events that
    are not counted there yet.
    active: requests in flight, N_ACTIVE words: the code of the method times the schemes, plus the scheme's.
    queued: rows that wait for each model, N_QUEUES words.
    deaths: N_DEATHS words, how many processes of this seat each signal has ended; the first word counts the others.
    """

    def __init__(self, memory: memoryview, sizes: SeatSizes) -> None:
        parts = []
        for size in sizes.parts():
            parts.append(memory[:size])
            memory = memory[page_aligned(size) :]
        words, self.request_ring, self.side_ring, *self._tables, overflow, self.overflow_block = parts
        self._words = words.cast("Q")
        self.process = ProcessWords(self._words[:PROCESS_WORDS])
        self.active = self._words[_ACTIVE_AT : _ACTIVE_AT + N_ACTIVE]
        self.deaths = self._words[_DEATHS_AT : _DEATHS_AT + N_DEATHS]
        self.queued = self._words[_QUEUED_AT : _QUEUED_AT + N_QUEUES]
        self.overflow = TwoCopies(overflow)

    def slots(self, generation: int) -> SlotTable:
        """Returns the table of a generation; the one after it uses the other, so that a dead worker's stays readable.

        The worker of the generation calls `clear` before it takes the first slot.
        """
        return SlotTable(self._tables[generation & 1])

    @property
    def heartbeat_ns(self) -> int:
        """When the worker's event loop turned last, on the clock of `perf_counter_ns`."""
        return self._words[_HEARTBEAT]

    @heartbeat_ns.setter
    def heartbeat_ns(self, now_ns: int) -> None:
        self._words[_HEARTBEAT] = now_ns

    def granted(self, window: int) -> int:
        """Returns how many traces that clients asked for this worker has granted in a window of its allowance."""
        word = self._words[_ASKED]  # both in one word: another worker never sees the one without the other
        return word & (1 << _GRANTED_BITS) - 1 if word >> _GRANTED_BITS == window else 0

    def grant(self, window: int) -> None:
        """Counts one more trace that a client asked for in a window."""
        self._words[_ASKED] = window << _GRANTED_BITS | self.granted(window) + 1

    def end(self, wait_status: int, *, is_death: bool) -> None:
        """Stores how the worker's process ended, and clears what ended with it; a death is counted by its signal."""
        for words in (self.active, self.queued):
            for index in range(len(words)):
                words[index] = 0
        if is_death:
            self.deaths[wait_status & 0x7F] += 1
        self.process.end(wait_status)
