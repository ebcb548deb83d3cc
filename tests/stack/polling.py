"""Waiting for what another process does in its own time."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")


def poll_until(attempt: Callable[[], T], timeout_s: float, pause_s: float = 0.1) -> T:
    """The first truthy result of attempt. Raises TimeoutError with the last result when the time is over."""
    until = monotonic() + timeout_s
    while True:
        result = attempt()
        if result:
            return result
        if monotonic() > until:
            raise TimeoutError(f"not within {timeout_s} s; the last result was {result!r}")
        sleep(pause_s)
