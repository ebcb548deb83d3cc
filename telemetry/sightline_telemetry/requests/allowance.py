"""Decides, when a request starts, whether its trace is requested: by its caller, or by a share at random."""

from collections.abc import Callable
from random import random
from time import monotonic
from typing import Protocol

Clock = Callable[[], float]


class Granted(Protocol):
    """Counts what was granted in the current window of an allowance; windows are numbered, and never go back."""

    def granted(self, window: int) -> int:
        """Returns how many were granted in a window, by all who share the allowance."""

    def grant(self, window: int) -> None:
        """Counts one more."""


class GrantedHere:
    """Counts what one process has granted."""

    __slots__ = ("_n", "_window")

    def __init__(self) -> None:
        self._window = self._n = 0

    def granted(self, window: int) -> int:
        """Returns how many were granted in a window."""
        return self._n if window == self._window else 0

    def grant(self, window: int) -> None:
        """Counts one more."""
        self._window, self._n = window, self.granted(window) + 1


class Allowance:
    """Limits the kept traces to `per_s` per second of the clock; below 1 per second, to one per 1/`per_s` seconds.

    Windows are those of the clock, so processes that share an allowance have the same ones. Of a broken rate such as
    2.5 per second, every other window has one more.

    >>> allowance = Allowance(1, clock=lambda: 0.0)
    >>> allowance.take(), allowance.take()
    (True, False)
    """

    __slots__ = ("_clock", "_granted", "_per_window", "_window_s")

    def __init__(self, per_s: float, clock: Clock = monotonic, granted: Granted | None = None) -> None:
        self._window_s = 1 / per_s if 0 < per_s < 1 else 1.0
        self._per_window = max(per_s, 1.0) if per_s else 0.0
        self._clock = clock
        self._granted: Granted = GrantedHere() if granted is None else granted

    def take(self) -> bool:
        """Returns True if one more is allowed now, and counts it."""
        window = int(self._clock() / self._window_s)
        allowed = int((window + 1) * self._per_window) - int(window * self._per_window)
        if self._granted.granted(window) >= allowed:
            return False
        self._granted.grant(window)
        return True


class AskedSampler:
    """Decides at the start of a request whether its trace is kept in any case, within the allowance for `asked`.

    share: of the requests whose trace is kept at random.
    """

    def __init__(self, share: float, allowance: Allowance) -> None:
        self.share = share
        self._allowance = allowance

    def is_asked(self, is_sampled_by_caller: bool) -> bool:
        """Returns True if the trace is requested."""
        return is_sampled_by_caller or bool(self.share and random() < self.share)  # noqa: S311  # not a secret

    def take(self) -> bool:
        """Returns True if one more requested trace is allowed now."""
        return self._allowance.take()
