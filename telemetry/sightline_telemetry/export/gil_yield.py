"""Long work of a background thread in small pieces, between which another thread gets the interpreter.

Python takes the interpreter from a busy thread only every 5 ms (`sys.getswitchinterval`): so long the event loop,
and every request in it, would wait for an export.
"""

from collections.abc import Iterable, Iterator
from time import perf_counter, sleep
from typing import TypeVar

T = TypeVar("T")

_PIECE_S = 5e-4
# Long enough for a thread that waits to wake up and take the interpreter: after sleep(0) it often comes too late.
_BREAK_S = 5e-5


class GilYield:
    """The pace of one piece of work in one thread."""

    def __init__(self) -> None:
        self._break_at_s = perf_counter() + _PIECE_S

    def keep(self) -> None:
        """Takes a short break, if half a millisecond has passed since the last one."""
        if perf_counter() >= self._break_at_s:
            sleep(_BREAK_S)
            self._break_at_s = perf_counter() + _PIECE_S


class YieldingList(list[T]):
    """A list whose readers keep a pace, though they know nothing of it.

    >>> list(YieldingList("abc", GilYield()))
    ['a', 'b', 'c']
    """

    def __init__(self, items: Iterable[T], pace: GilYield) -> None:
        super().__init__(items)
        self._pace = pace

    def __iter__(self) -> Iterator[T]:
        for item in super().__iter__():
            self._pace.keep()
            yield item
