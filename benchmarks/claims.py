"""What the service is asked to reach, and whether it does: computed from what was measured, never typed in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.results_table import spread


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for the median of some values. aim: what would be better still. unit: goes behind a number."""

    limit: float
    is_floor: bool
    unit: str = ""
    aim: float | None = None

    def __str__(self) -> str:
        aim = "" if self.aim is None else f" (aim: {self.aim:g}{self.unit})"
        return f"at {'least' if self.is_floor else 'most'} {self.limit:g}{self.unit}{aim}"

    def verdict(self, values: Sequence[float]) -> str:
        """Whether the median of the values keeps the limit, and the aim.

        >>> Target(2, is_floor=True, aim=2.7).verdict([2.1, 2.9, 2.8])
        'met, the aim too'
        """
        if not values:
            return "not measured"
        if not self._is_kept(median(values), self.limit):
            return "**not met**"
        return "met, the aim too" if self.aim is not None and self._is_kept(median(values), self.aim) else "met"

    def _is_kept(self, value: float, limit: float) -> bool:
        return value >= limit if self.is_floor else value <= limit


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of some values, one a round; of none, if it was not measured."""

    what: str
    asked: Target
    values: Sequence[float]

    def line(self) -> str:
        """A row of the table."""
        measured = spread(self.values) + self.asked.unit if self.values else "-"
        return f"| {self.what} | {self.asked} | {measured} | {self.asked.verdict(self.values)} |"


def at_least(limit: float, aim: float | None = None) -> Target:
    """A multiple that must be reached."""
    return Target(limit, is_floor=True, aim=aim)


def at_most(limit: float, unit: str = "") -> Target:
    """A value that must not be passed."""
    return Target(limit, is_floor=False, unit=unit)


def claims_table(claims: Iterable[Claim]) -> list[str]:
    """The claims as a table of Markdown."""
    head = ["| what, everything on | asked | measured: median (range over rounds) | |", "|---|---|---|---|"]
    return [*head, *(claim.line() for claim in claims)]
