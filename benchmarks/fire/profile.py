"""How much of each scenario is run: enough to find a fault, or just enough to see that all of it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FireProfile:
    """rows: at least so many in answers. worker_kills, observer_kills, stopped_s: of the fire, within fire_s.

    scrapes: that are checked. stalled_s: how long the observer, or the reader of stdout, stands still; a third of it
    is measured before and after.
    """

    rows: int
    fire_s: float
    worker_kills: int
    observer_kills: int
    stopped_s: float
    scrapes: int
    stalled_s: float


FULL = FireProfile(
    rows=100_000, fire_s=60.0, worker_kills=5, observer_kills=3, stopped_s=20.0, scrapes=1000, stalled_s=60.0
)
QUICK = FireProfile(rows=2_000, fire_s=8.0, worker_kills=2, observer_kills=1, stopped_s=2.0, scrapes=40, stalled_s=3.0)
