"""The shared memory of one service, the board: what its workers, observer and supervisor leave for each other.

It has no name in a file system, so that a read-only root and Docker's `/dev/shm` of 64 MB are no obstacles; processes
inherit its descriptor. It is sparse: pages that no process has touched cost nothing, so generous sizes are free.

    header        magic, layout version, workers, sizes, start time, service.instance.id: written once
    description   what the workers serve, written once by the first that is ready
    counts        what the observer has counted: two copies
    seats         one per worker: words, rings, slots, overflow (`events.seats`)
"""

import mmap
import os
import time
from contextlib import suppress
from struct import Struct
from typing import NamedTuple, Self

from sightline_telemetry.events.copies import TwoCopies
from sightline_telemetry.events.seats import PROCESS_WORDS, ProcessWords, Seat, SeatSizes, page_aligned

_MAGIC = b"sightlin"
_VERSION = 1
_HEADER = Struct("8sQQ16s8Q")  # magic, version, start time, instance id, workers, sizes
_HEADER_BYTES = 4096
_MAP_FIXED = 0x10  # on Linux, macOS and the BSDs; Python's mmap does not name it
_OBSERVER_AT = 2048  # words of the observer's process, within the header


class BoardSizes(NamedTuple):
    """How many bytes each part of the board may grow to; only touched pages cost memory."""

    description: int = 8 << 20
    counts: int = 16 << 20
    seat: SeatSizes = SeatSizes()

    def shared_parts(self) -> list[int]:
        """Returns the sizes of what all workers share, in their order."""
        return [TwoCopies.reserved_bytes(self.description), TwoCopies.reserved_bytes(self.counts)]


DEFAULT_SIZES = BoardSizes()


class Board:
    """The shared memory of one service, mapped into this process.

    fd: its descriptor, which `subprocess.Popen(pass_fds=...)` hands to a child. It is not inherited otherwise.
    """

    def __init__(self, fd: int, n_workers: int, sizes: BoardSizes) -> None:
        self.fd = fd
        self.n_workers = n_workers
        self.sizes = sizes
        self._mapping = mmap.mmap(fd, _total_bytes(n_workers, sizes))
        self._memory = memoryview(self._mapping)
        _, _, self.start_unix_ns, self.instance_id, *_ = _HEADER.unpack_from(self._memory)
        self.observer = ProcessWords(self._memory[_OBSERVER_AT : _OBSERVER_AT + 8 * PROCESS_WORDS].cast("Q"))
        at = page_aligned(_HEADER_BYTES)
        shared = []
        for size in sizes.shared_parts():
            shared.append(TwoCopies(self._memory[at : at + size]))
            at += page_aligned(size)
        self._description, self._counts = shared
        self._seats_at = at

    @classmethod
    def create(cls, n_workers: int, sizes: BoardSizes = DEFAULT_SIZES, instance_id: bytes | None = None) -> Self:
        """Makes the memory of a service that starts now.

        instance_id: 16 bytes, a random UUID by default; resources show it as `service.instance.id`.
        """
        if n_workers < 1:
            raise ValueError(f"a service has at least one worker, not {n_workers}")
        fd = _anonymous_file()
        os.ftruncate(fd, _total_bytes(n_workers, sizes))
        header = (_MAGIC, _VERSION, time.time_ns(), instance_id or _random_uuid(), n_workers)
        os.pwrite(fd, _HEADER.pack(*header, sizes.description, sizes.counts, *sizes.seat), 0)
        return cls(fd, n_workers, sizes)

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Maps the memory that another process has made; children of this one do not inherit the descriptor.

        Raises ValueError when the descriptor belongs to something else, or to another version's board.
        """
        os.set_inheritable(fd, False)
        header = os.pread(fd, _HEADER.size, 0)
        if len(header) < _HEADER.size or header[:8] != _MAGIC:
            raise ValueError(f"descriptor {fd} is not the shared memory of a service")
        _, version, _, _, n_workers, description, counts, *seat = _HEADER.unpack(header)
        if version != _VERSION:
            raise ValueError(f"the shared memory has layout {version}, this process reads layout {_VERSION}")
        return cls(fd, n_workers, BoardSizes(description, counts, SeatSizes(*seat)))

    def seat(self, index: int) -> Seat:
        """Returns what belongs to the worker of this index."""
        if not 0 <= index < self.n_workers:
            raise IndexError(f"worker {index} of {self.n_workers}")
        size = self.sizes.seat.total_bytes()
        at = self._seats_at + index * size
        return Seat(self._memory[at : at + size], self.sizes.seat)

    def describe(self, data: bytes) -> None:
        """Stores what the workers serve, unless one has stored it: the first worker that is ready calls it.

        Raises ValueError when it is larger than the reserved memory.
        """
        if self._description.committed() is None:
            self._description.commit(data)

    def description(self) -> bytes | None:
        """Returns what the workers serve, None before one of them is ready."""
        return self._description.committed()

    def commit(self, data: bytes) -> None:
        """Replaces what the observer has counted; only the observer calls it.

        Raises ValueError when it is larger than the reserved memory.
        """
        self._counts.commit(data)

    def committed(self) -> bytes | None:
        """Returns what the observer has counted, None if it has counted nothing yet.

        Raises TornMemoryError when another program overwrote it.
        """
        return self._counts.committed()

    def leave_in_children(self) -> None:
        """From now on, a forked child of this process finds private zeros in the place of the shared memory.

        So every view of it stays usable there, and nothing that the child stores is seen by the service. The board
        must not be freed afterwards, and is not: the hook of the system holds it.
        """
        if not hasattr(os, "register_at_fork"):
            return
        import ctypes  # here, because the supervisor needs no such module

        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED

        def replace() -> None:
            if libc.mmap(address, len(self._mapping), protection, flags, -1, 0) != address:
                raise OSError(ctypes.get_errno(), "the memory of the service cannot be left by a forked child")

        os.register_at_fork(after_in_child=replace)


def _total_bytes(n_workers: int, sizes: BoardSizes) -> int:
    shared = page_aligned(_HEADER_BYTES) + sum(page_aligned(size) for size in sizes.shared_parts())
    return shared + n_workers * sizes.seat.total_bytes()


def _anonymous_file() -> int:
    """Returns the descriptor of a file without a name: in memory, or a deleted temporary one where there is no such."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # a sandbox may forbid it
            return os.memfd_create("sightline")
    from tempfile import TemporaryFile  # here, for it loads as much as the whole supervisor otherwise needs

    with TemporaryFile() as file:
        return os.dup(file.fileno())


def _random_uuid() -> bytes:
    """Returns a random UUID (RFC 9562, version 4) as 16 bytes."""
    number = int.from_bytes(os.urandom(16), "big")
    number = number & ~(0xF << 76 | 0b11 << 62) | 4 << 76 | 0b10 << 62
    return number.to_bytes(16, "big")
