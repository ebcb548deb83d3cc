"""How much is measured: enough for the page, or just enough to see that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunProfile:
    """rounds: interleaved ones, beside a first that warms up. seconds: of load on a server in one round.

    slow_seconds: the same for servers slow enough to show what they do in less.
    requests: served before memory is read, each time. bulk_requests: of 10,000 rows, one after the other.
    """

    rounds: int
    seconds: float
    slow_seconds: float
    requests: tuple[int, int]
    bulk_requests: int


FULL = RunProfile(rounds=5, seconds=1.5, slow_seconds=1.0, requests=(10**4, 10**6), bulk_requests=100)
QUICK = RunProfile(rounds=1, seconds=0.4, slow_seconds=0.4, requests=(10**3, 10**4), bulk_requests=3)
