"""Decides, when a request starts, whether its trace is requested: by its caller, or by a share at random."""

from collections.abc import Callable
from random import random
from time import monotonic
from typing import Protocol

Clock = Callable[[], float]


class Allowance:
    """Limits the kept traces by a token bucket: `per_s` tokens per second, and at most as many at once.

    >>> allowance = Allowance(1, clock=lambda: 0.0)
    >>> allowance.take(), allowance.take()
    (True, False)
    """

    __slots__ = ("_clock", "_filled_at", "_per_s", "_tokens")

    def __init__(self, per_s: float, clock: Clock = monotonic) -> None:
        self._per_s = per_s
        self._tokens = per_s
        self._clock = clock
        self._filled_at = clock()

    def take(self) -> bool:
        """Takes one token and returns True, or returns False if no token is left."""
        now = self._clock()
        self._tokens = min(self._per_s, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Takes(Protocol):
    """An allowance: of one process, or shared by several."""

    def take(self) -> bool:
        """Returns True if one more is allowed now."""


class AskedSampler:
    """Decides at the start of a request whether its trace is kept in any case, within the allowance for `asked`.

    share: of the requests whose trace is kept at random.
    """

    def __init__(self, share: float, allowance: Takes) -> None:
        self._share = share
        self._allowance = allowance

    def is_asked(self, is_sampled_by_caller: bool) -> bool:
        """Returns True if the trace is requested."""
        return is_sampled_by_caller or bool(self._share and random() < self._share)  # noqa: S311  # not a secret

    def take(self) -> bool:
        """Returns True if one more requested trace is allowed now."""
        return self._allowance.take()
