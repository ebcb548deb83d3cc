"""Which process has a seat: a lock on a byte of the shared memory, which the system releases when the process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager


class SeatLocks:
    """Locks between processes, by their number; a forked child has none of its parent's.

    descriptor: of the shared memory. POSIX releases all locks of a process on a file when it closes any descriptor of
    that file, so a process that holds one closes none. Threads of one process do not exclude each other.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def take(self, number: int) -> bool:
        """Takes a lock and returns True, or returns False if another process has it."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    def release(self, number: int) -> None:
        """Releases a lock."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Waits for a lock, and holds it for the length of the block."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, number)
        try:
            yield
        finally:
            self.release(number)
