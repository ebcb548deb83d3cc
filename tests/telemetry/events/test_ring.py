"""The ring against a queue, between processes, and with bytes that no writer wrote."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.ring import RingReader, RingWriter
from sightline_telemetry.events.seats import SeatSizes

RING_BYTES = 128 + 512
SMALL = BoardSizes(4096, 4096, SeatSizes(64 << 10, 4096, 4096, 4096, 16))

# A process that writes numbered events for ever, or so many of them; an event is its number, repeated.
WRITER = """
import sys, time
from sightline_telemetry.events.memory import Board
from sightline_telemetry.events.ring import RingWriter
ring = RingWriter(Board.attach(int(sys.argv[1])).seat(0).request_ring)
sent = 0
while sent < int(sys.argv[2]):
    if ring.append(sent.to_bytes(8, "little") * (1 + sent % 40)):
        sent += 1
    else:
        time.sleep(0.0001)
"""


class RingAgainstQueue(RuleBasedStateMachine):
    """A ring behaves as a queue whose writer is refused when it is full, whichever side is replaced in between."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = memoryview(bytearray(RING_BYTES))
        self.writer = RingWriter(self.memory)
        self.reader = RingReader(self.memory, 0)
        self.unread: deque[bytes] = deque()

    @rule(payload=st.binary(max_size=140))
    def append(self, payload: bytes) -> None:
        """An event is written if it and the way round the ring's end are free."""
        published = self.writer.published
        step = 16 + (len(payload) + 15) // 16 * 16
        to_end = 512 - published % 512
        needed = step if step <= to_end else to_end + step
        has_room = published + needed <= self.reader.released + 512 and len(payload) <= 128
        assert self.writer.append(payload) is has_room
        assert self.writer.published == published + (needed if has_room else 0)
        if has_room:
            self.unread.append(payload)

    @rule(limit_bytes=st.integers(1, 600))
    def read(self, limit_bytes: int) -> None:
        """The events come in order and whole; at least one, if there is one."""
        events = self.reader.read(limit_bytes=limit_bytes)
        assert events == [self.unread.popleft() for _ in events]
        assert bool(events) or not self.unread or self.reader.position < self.writer.published
        assert not self.reader.is_torn

    @rule()
    def release(self) -> None:
        """What was read becomes free."""
        self.reader.release(self.reader.position)

    @rule()
    def replace_writer(self) -> None:
        """Another writer goes on behind the last event."""
        self.writer = RingWriter(self.memory)

    @rule()
    def replace_reader(self) -> None:
        """Another reader goes on at the position of the one before."""
        self.reader = RingReader(self.memory, self.reader.position)

    @rule()
    def read_all(self) -> None:
        """Everything that was written and not yet read arrives."""
        assert self.reader.read(until=self.reader.published) == list(self.unread)
        self.unread.clear()
        assert self.reader.position == self.writer.published

    @invariant()
    def both_sides_agree(self) -> None:
        """The reader sees what the writer has published."""
        assert self.reader.published == self.writer.published


TestRingAgainstQueue = RingAgainstQueue.TestCase


def _ring(*payloads: bytes) -> tuple[memoryview, RingReader]:
    memory = memoryview(bytearray(RING_BYTES))
    writer = RingWriter(memory)
    for payload in payloads:
        assert writer.append(payload)
    return memory, RingReader(memory, 0)


@pytest.mark.parametrize("at", range(48))
def test_a_changed_byte_stops_the_reader_before_the_event(at: int) -> None:
    """Whichever byte of a record is changed, the events before it are read, it and later ones are not."""
    memory, reader = _ring(b"a" * 16, b"b" * 32, b"c" * 16)
    start = 128 + 32
    memory[start + at] ^= 0x40
    assert (reader.read(), reader.is_torn, reader.position) == ([b"a" * 16], True, 32)
    memory[start + at] ^= 0x40
    assert (reader.read(), reader.is_torn) == ([b"b" * 32, b"c" * 16], False)


def test_an_event_of_the_lap_before_is_not_read_again() -> None:
    """A record that was published before its bytes are visible is not mistaken for the one that lay there before."""
    memory, reader = _ring(*[b"same bytes, same"] * 16)
    assert len(reader.read()) == 16
    reader.release(512)
    memory[:128].cast("Q")[0] = 512 + 32  # the store that publishes overtook the record
    assert (reader.read(), reader.is_torn) == ([], True)
    memory[128 + 8 : 128 + 16] = (512).to_bytes(8, sys.byteorder)  # the sequence number arrives before the payload
    assert (reader.read(), reader.is_torn) == ([], True)
    memory[:128].cast("Q")[0] = 512
    assert RingWriter(memory).append(b"same bytes, same")
    assert (reader.read(), reader.is_torn) == ([b"same bytes, same"], False)


@pytest.mark.parametrize("published", [8, 4096, 1 << 63])
def test_a_foreign_position_is_torn(published: int) -> None:
    """A published position that no writer can have reached is refused by the reader."""
    memory, reader = _ring(b"a")
    reader.read()
    memory[:128].cast("Q")[0] = published
    assert (reader.read(), reader.is_torn) == ([], True)


def test_a_refused_ring_goes_on_where_it_was_given_up() -> None:
    """A reader that leaves torn events out, and releases them, reads what is written afterwards."""
    memory, reader = _ring(b"a" * 100, b"b" * 100)
    writer = RingWriter(memory)
    memory[140] ^= 1
    assert (reader.read(), reader.is_torn) == ([], True)
    reader.position = reader.published
    reader.release(reader.position)
    assert writer.append(b"c" * 128)
    assert (reader.read(), reader.is_torn) == ([b"c" * 128], False)


def test_a_foreign_release_does_not_make_room() -> None:
    """A released position beyond the published one frees no event that was not read."""
    memory, reader = _ring()
    writer = RingWriter(memory)
    memory[:128].cast("Q")[8] = 1 << 40
    while writer.published < 512:
        assert writer.append(b"x" * 16)
    assert len(reader.read()) == 16


@pytest.mark.parametrize(("published", "released"), [(0, 1 << 40), (2**64 - 1, 0), (1_000, 999), (7, 7)])
def test_a_writer_goes_on_in_a_ring_with_foreign_words(published: int, released: int) -> None:
    """A writer that finds words that no ring can have publishes events, which a reader that goes on there reads."""
    memory, reader = _ring()
    words = memory[:128].cast("Q")
    words[0], words[8] = published, released
    writer = RingWriter(memory)
    reader.position = reader.published
    for number in range(200):
        assert writer.append(b"%d" % number)
        assert reader.read() == [b"%d" % number]
        reader.release(reader.position)


def test_until_leaves_later_events() -> None:
    """A reader that is given a position stops there, and goes on later."""
    memory, reader = _ring(b"a", b"b")
    until = reader.published
    RingWriter(memory).append(b"c")
    assert reader.read(until) == [b"a", b"b"]
    assert reader.read(until) == []
    assert reader.read() == [b"c"]


def test_a_ring_that_is_too_small_is_refused() -> None:
    """Less than four records' heads is no ring."""
    with pytest.raises(ValueError, match="needs at least 192 bytes, not 191"):
        RingWriter(memoryview(bytearray(191)))


def _read_while(process: "subprocess.Popen[bytes]", reader: RingReader, wanted: int) -> int:
    """Reads numbered events until there are `wanted` or the process has ended; checks each, and returns how many."""
    received = 0
    while received < wanted:
        has_ended = process.poll() is not None
        events = reader.read()
        for event in events:
            assert event == received.to_bytes(8, "little") * (1 + received % 40)
            received += 1
        reader.release(reader.position)
        if not events:
            if has_ended:
                break
            time.sleep(0.0001)  # the writer may need this core
    return received


@pytest.fixture
def board() -> "Board":
    """A small board that is closed afterwards."""
    return Board.create(1, SMALL)


@pytest.mark.slow
def test_a_million_events_arrive_from_another_process(board: Board) -> None:
    """Two processes at full speed, a ring that is often full: every event arrives once, in order and whole."""
    count = 1_000_000
    command = [sys.executable, "-c", WRITER, str(board.fd), str(count)]
    with subprocess.Popen(command, pass_fds=[board.fd]) as writer:
        assert _read_while(writer, RingReader(board.seat(0).request_ring, 0), count) == count
        assert writer.wait(10) == 0
    os.close(board.fd)


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_events_only(board: Board) -> None:
    """SIGKILL at random moments: the published events are whole, and the next writer goes on behind them."""
    random = Random(5)
    ring = board.seat(0).request_ring
    reader = RingReader(ring, 0)
    for _ in range(5):
        command = [sys.executable, "-c", WRITER, str(board.fd), str(1 << 40)]
        before = reader.published
        with subprocess.Popen(command, pass_fds=[board.fd]) as writer:
            while reader.published == before:
                time.sleep(0.001)
            started = time.monotonic()
            while time.monotonic() < started + random.uniform(0, 0.05):
                reader.release(reader.position) if reader.read() else None
            os.kill(writer.pid, signal.SIGKILL)
        left = reader.published
        while reader.position < left:
            assert reader.read() != []
            assert not reader.is_torn
        reader.release(reader.position)
        assert RingWriter(ring).published == left
    os.close(board.fd)
