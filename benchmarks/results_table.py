"""Servers under load, and how they compare: a ratio is taken within a round, then its median and range."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.load import Measured
from benchmarks.servers import KINDS


@dataclass(frozen=True, slots=True)
class Cell:
    """One server under one load: a measurement a round, and the CPU time of a request in microseconds."""

    model: str
    rows: int
    clients: int
    server: str
    rounds: tuple[Measured, ...]
    cpu_us: tuple[float, ...]

    @property
    def per_s(self) -> float:
        """Answers per second, the median of the rounds."""
        return median(each.per_s for each in self.rounds)

    def times(self, base: "Cell") -> list[float]:
        """Throughput as a multiple of another server's, round by round."""
        return [a.per_s / b.per_s for a, b in zip(self.rounds, base.rounds, strict=True)]

    def line(self, *bases: "Cell") -> str:
        """A row of a table: throughput, also against others, latency, CPU."""
        numbers = (
            f"{self.per_s:,.0f}",
            *(spread(self.times(base)) for base in bases),
            f"{median(each.p50_ms for each in self.rounds):.2f}",
            f"{median(each.p99_ms for each in self.rounds):.2f}",
            f"{median(self.cpu_us):,.0f}",
        )
        return f"| {self.server}: {KINDS[self.server].title} | {' | '.join(numbers)} |"


def find(cells: Iterable[Cell], rows: int, clients: int, server: str) -> Cell | None:
    """One server under one load, if it was measured."""
    wanted = (rows, clients, server)
    return next((cell for cell in cells if (cell.rows, cell.clients, cell.server) == wanted), None)


def spread(values: Iterable[float]) -> str:
    """Median and range, with more digits where it is small.

    >>> spread([2.0, 1.0, 4.0]), spread([0.0123])
    ('2.00 (1.00 .. 4.00)', '0.012 (0.012 .. 0.012)')
    """
    ordered = sorted(values)
    digits = 2 if median(ordered) >= 0.1 else 3
    return f"{median(ordered):,.{digits}f} ({ordered[0]:,.{digits}f} .. {ordered[-1]:,.{digits}f})"


def table(cells: Sequence[Cell], bases: Sequence[str]) -> list[str]:
    """The servers of one load as a table of Markdown, with a column of ratios to each of the bases.

    A base that was not measured has no column.
    """
    found = [cell for name in bases for cell in cells if cell.server == name]
    titles = [
        "server",
        "requests/s",
        *(f"times {base.server}" for base in found),
        "p50 ms",
        "p99 ms",
        "CPU us per request",
    ]
    return [
        f"| {' | '.join(titles)} |",
        f"|---|{'---:|' * (len(titles) - 1)}",
        *(cell.line(*found) for cell in cells),
    ]


def heading(cell: Cell) -> str:
    """What the load was.

    >>> heading(Cell("logistic", 1, 64, "A", (), ()))
    'logistic, 64 clients, 1 row a request'
    """
    return f"{cell.model}, {counted(cell.clients, 'client')}, {counted(cell.rows, 'row')} a request"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
