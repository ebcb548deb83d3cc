"""Bytes in shared memory that one process replaces as a whole, again and again, and that others read.

Two copies take turns: the new bytes are written into the copy that is not current, then one word is flipped. A writer
that is killed at any instruction leaves the current copy whole.
"""

from zlib import crc32

_WORDS_BYTES = 64
_CURRENT = 0  # 0: nothing was committed, 1 or 2: which copy is current; then size and checksum of both copies
_TRIES = 100  # a reader whose copy is written again while it reads takes the other one, which is then current


class TornMemoryError(RuntimeError):
    """What lies in shared memory has another checksum than its writer stored."""


class TwoCopies:
    """One value of up to `max_bytes` bytes, written by one thread of one process, read by any process."""

    def __init__(self, memory: memoryview) -> None:
        self.max_bytes = (len(memory) - _WORDS_BYTES) // 2 & -64
        self._words = memory[:_WORDS_BYTES].cast("Q")
        self._data = memory[_WORDS_BYTES:]

    @staticmethod
    def reserved_bytes(max_bytes: int) -> int:
        """Returns the memory that a value of up to `max_bytes` bytes needs."""
        return _WORDS_BYTES + 2 * (max_bytes + 63 & -64)

    def commit(self, data: bytes) -> None:
        """Replaces the value at once.

        Raises ValueError when it is larger than the reserved memory.
        """
        if len(data) > self.max_bytes:
            raise ValueError(f"{len(data)} bytes are more than the {self.max_bytes} that are reserved for them")
        copy = 2 if self._words[_CURRENT] == 1 else 1
        start = (copy - 1) * self.max_bytes
        self._data[start : start + len(data)] = data
        self._words[2 * copy] = len(data)
        self._words[2 * copy + 1] = crc32(data)
        self._words[_CURRENT] = copy

    def committed(self) -> bytes | None:
        """Returns the value that was committed last, None before the first.

        Raises TornMemoryError when its checksum stays wrong: another program wrote into the memory.
        """
        for _ in range(_TRIES):
            copy = self._words[_CURRENT]
            if copy == 0:
                return None
            if copy > 2:
                break
            start = (copy - 1) * self.max_bytes
            size, checksum = self._words[2 * copy], self._words[2 * copy + 1]
            data = bytes(self._data[start : start + min(size, self.max_bytes)])
            if crc32(data) == checksum and len(data) == size:
                return data
        raise TornMemoryError(f"copy {copy} of the shared bytes has another checksum than its writer stored")
