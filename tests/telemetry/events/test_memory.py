"""The board: shared by descriptor, sparse, whole after a kill, and light to import."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from time import perf_counter_ns, sleep, time_ns
from unittest.mock import patch

import pytest

from sightline_telemetry.events.copies import TornMemoryError, TwoCopies
from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.seats import SeatSizes
from sightline_telemetry.events.slots import READING

SMALL = BoardSizes(1000, 2000, SeatSizes(4096, 4096, 1000, 1000, 16))


@pytest.fixture
def board() -> Iterator[Board]:
    """A small board of two workers."""
    board = Board.create(2, SMALL)
    yield board
    os.close(board.fd)


def _other(board: Board) -> Board:
    """The same memory, as another process maps it."""
    return Board.attach(os.dup(board.fd))


def test_another_process_reads_the_header() -> None:
    """Workers, sizes, start time and instance id are as they were created, for each process that attaches."""
    before = time_ns()
    board = Board.create(3, SMALL)
    other = _other(board)
    assert (other.n_workers, other.sizes) == (3, SMALL)
    assert before <= board.start_unix_ns == other.start_unix_ns <= time_ns()
    assert uuid.UUID(bytes=other.instance_id).version == 4
    assert board.instance_id == other.instance_id != Board.create(3, SMALL).instance_id
    assert Board.create(1, SMALL, b"0123456789abcdef").instance_id == b"0123456789abcdef"


def test_default_sizes_cost_no_memory() -> None:
    """Four workers' board reserves more than 100 MB, of which less than 100 KB are used."""
    board = Board.create(4)
    status = os.fstat(board.fd)
    assert status.st_size > 100 << 20
    assert status.st_blocks * 512 < 100 << 10
    board.seat(3).slots(1).take(1, 2, 3, 4, 5, 6, 7)
    board.commit(b"x" * 10_000)
    assert os.fstat(board.fd).st_blocks * 512 < 200 << 10
    os.close(board.fd)


def test_without_memfd_a_deleted_file_serves() -> None:
    """Where a system has no memory file, or forbids it, the board lies in a file that has no name any more."""
    with patch("os.memfd_create", side_effect=PermissionError, create=True):
        board = Board.create(1, SMALL)
    assert os.fstat(board.fd).st_nlink == 0
    board.commit(b"counts")
    assert _other(board).committed() == b"counts"
    os.close(board.fd)


def test_no_child_inherits_a_board(board: Board) -> None:
    """The descriptor is passed on explicitly or not at all, also by who attached to it."""
    assert not os.get_inheritable(board.fd)
    fd = os.dup(board.fd)
    os.set_inheritable(fd, True)
    assert not os.get_inheritable(Board.attach(fd).fd)


def test_a_foreign_file_is_refused() -> None:
    """What is not a board, or has another layout, is not mapped."""
    read, write = os.pipe()
    os.close(write)
    fd = os.memfd_create("other") if hasattr(os, "memfd_create") else os.dup(read)
    os.close(read)
    with pytest.raises(ValueError, match="is not the shared memory of a service"):
        Board.attach(fd)
    os.close(fd)
    board = Board.create(1, SMALL)
    os.pwrite(board.fd, (99).to_bytes(8, sys.byteorder), 8)
    with pytest.raises(ValueError, match="has layout 99, this process reads layout 1"):
        Board.attach(board.fd)
    os.close(board.fd)


def test_a_board_has_the_seats_of_its_workers(board: Board) -> None:
    """A worker's index is checked, and a service without workers is refused."""
    with pytest.raises(IndexError, match="worker 2 of 2"):
        board.seat(2)
    with pytest.raises(ValueError, match="at least one worker, not 0"):
        Board.create(0, SMALL)


def test_the_last_commit_is_read(board: Board) -> None:
    """Nothing at first, then always the newest bytes, of any length."""
    other = _other(board)
    assert other.committed() is None
    for data in (b"one", b"", b"x" * 2000, b"three"):
        board.commit(data)
        assert other.committed() == data
    with pytest.raises(ValueError, match="more than the 2048 that are reserved"):
        board.commit(b"x" * 2049)
    assert other.committed() == b"three"


def test_the_first_description_stays(board: Board) -> None:
    """A worker that becomes ready later does not replace what the first has described."""
    other = _other(board)
    assert other.description() is None
    board.describe(b"first")
    other.describe(b"second")
    assert board.description() == other.description() == b"first"


def test_foreign_bytes_are_not_returned() -> None:
    """A changed byte, and a word that no writer stores, raise instead of being taken for what was committed."""
    memory = memoryview(bytearray(TwoCopies.reserved_bytes(100)))
    copies = TwoCopies(memory)
    copies.commit(b"counts")
    memory[64] ^= 1
    with pytest.raises(TornMemoryError, match="copy 1"):
        copies.committed()
    memory[0] = 7
    with pytest.raises(TornMemoryError, match="copy 7"):
        copies.committed()


def test_a_killed_writer_leaves_a_whole_copy(board: Board) -> None:
    """SIGKILL in the middle of commits: what is read is one of the values, whole."""
    code = (
        "import sys\nfrom sightline_telemetry.events.memory import Board\nboard = Board.attach(int(sys.argv[1]))\n"
        "number = 0\nwhile True:\n    number += 1\n    board.commit(number.to_bytes(8, 'little') * (number % 250))"
    )
    for _ in range(3):
        before = board.committed()
        with subprocess.Popen([sys.executable, "-c", code, str(board.fd)], pass_fds=[board.fd]) as writer:
            while board.committed() == before:
                sleep(0.001)
            sleep(0.02)
            os.kill(writer.pid, signal.SIGKILL)
        data = board.committed()
        assert data is not None
        number = int.from_bytes(data[:8], "little")
        assert data in (b"", number.to_bytes(8, "little") * (number % 250))


def test_a_worker_that_ends_leaves_how_it_ended(board: Board) -> None:
    """Its seat keeps how and when the last two ended, counts deaths by signal, and has no requests left."""
    seat, other = board.seat(1), _other(board).seat(1)
    assert (seat.process.begin(), seat.process.ended(1), seat.process.ended(0)) == (1, None, None)
    seat.process.pid = 4711
    seat.active[5] += 2
    seat.queued[1] += 3
    before = perf_counter_ns()
    seat.end(signal.SIGSEGV, is_death=True)
    ended = other.process.ended(1)
    assert ended is not None
    assert ended[:3] == (1, 4711, signal.SIGSEGV)
    assert before <= ended.ended_ns <= perf_counter_ns()
    assert (other.process.pid, set(other.active), set(other.queued)) == (0, {0}, {0})
    assert seat.process.begin() == 2
    seat.process.pid = 4712
    seat.end(3 << 8, is_death=True)
    assert other.process.ended(1) == ended
    successor = other.process.ended(2)
    assert successor is not None
    assert successor[:3] == (2, 4712, 3 << 8)
    seat.process.begin()
    seat.end(signal.SIGTERM, is_death=False)
    assert other.process.ended(1) is None
    assert {s: n for s, n in enumerate(other.deaths) if n} == {0: 1, signal.SIGSEGV: 1}
    assert list(board.seat(0).deaths) == [0] * 65


def test_two_generations_have_two_tables(board: Board) -> None:
    """The slots of a dead worker stay readable while its successor takes slots."""
    seat = board.seat(0)
    seat.slots(1).take(1, 2, 3, 4, 5, 6, 7)
    successor = seat.slots(2)
    successor.clear()
    successor.take(11, 12, 13, 14, 15, 16, 17)
    assert [request.span_id for request in seat.slots(1).read()] == [3]
    assert [(request.span_id, request.phase) for request in seat.slots(2).read()] == [(13, READING)]


def test_words_of_a_seat_are_its_own(board: Board) -> None:
    """What one worker stores is read by others, and changes no other seat."""
    seat, other = board.seat(0), _other(board).seat(0)
    seat.process.ready = 3
    seat.heartbeat_ns = 99
    seat.grant(1_764_288_000)
    seat.grant(1_764_288_000)
    seat.overflow.commit(b"overflow")
    assert (other.process.ready, other.heartbeat_ns, other.overflow.committed()) == (3, 99, b"overflow")
    assert (other.granted(1_764_288_000), other.granted(1_764_288_001)) == (2, 0)
    seat.grant(1_764_288_001)
    assert (other.granted(1_764_288_000), other.granted(1_764_288_001)) == (0, 1)
    for words in (seat.active, seat.deaths, seat.queued):
        for index in range(len(words)):
            assert words[index] == 0
            words[index] = 1
    assert [set(words) for words in (other.active, other.deaths, other.queued)] == [{1}] * 3
    assert (other.process.ready, other.heartbeat_ns, other.process.pid) == (3, 99, 0)
    neighbour = board.seat(1)
    assert (neighbour.process.ready, neighbour.heartbeat_ns, neighbour.overflow.committed()) == (0, 0, None)


def test_parts_of_a_seat_do_not_overlap(board: Board) -> None:
    """Each byte of the rings and the block belongs to one part of one seat."""
    views = [
        view
        for seat in (board.seat(0), board.seat(1))
        for view in (seat.request_ring, seat.side_ring, seat.overflow_block)
    ]
    for mark, view in enumerate(views, 1):
        view[:] = bytes([mark]) * len(view)
    assert [len(view) for view in views] == [4096, 4096, 1000] * 2
    assert [set(view) for view in views] == [{mark} for mark in range(1, 7)]
    assert board.committed() is None
    assert [set(board.seat(i).active) for i in (0, 1)] == [{0}, {0}]


def test_events_load_neither_numpy_nor_opentelemetry() -> None:
    """A process that imports the events has loaded only small modules of the standard library."""
    code = (
        "import sys\nfrom sightline_telemetry.events import memory, ring, slots\n"
        "print(sorted({'numpy', 'opentelemetry', 'asyncio', 'tempfile', 'dataclasses'} & sys.modules.keys()))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=environment)
    assert done.stdout == "[]\n"
