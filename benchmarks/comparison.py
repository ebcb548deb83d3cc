"""The comparison of servers on the page: every server, both sizes of a request, one, 8 and 64 clients."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console

from benchmarks.claims import Claim, Target, at_least, at_most
from benchmarks.compare import Plan, compare
from benchmarks.profile import RunProfile
from benchmarks.results_table import Cell, find, heading, table
from benchmarks.servers import KINDS

SERVERS = ("A", "B", "C", "D", "E-litserve", "E-bentoml", "E-mlserver", "F-off", "F", "F-contrib")
THROUGHPUT: dict[str, dict[str, Target]] = {
    "logistic": {"A": at_least(2.0, 2.7), "E": at_least(8), "B": at_least(70)},
    "boosting": {"A": at_least(1.5), "E": at_least(4)},
}
"""Requests per second of F at 64 clients and one row, as a multiple of another server's."""

_TITLES = {"A": "A, the empty endpoint", "B": "B, FastAPI + scikit-learn", "E": "the best of E"}


def measure(model: str, run_profile: RunProfile, console: Console) -> Iterator[list[Cell]]:
    """Everything that the page compares with one model; gives all cells so far after each load."""
    servers = []
    for kind in (KINDS[name] for name in SERVERS):
        if kind.is_there:
            servers.append(kind.name)
        else:
            console.print(f"{kind.name}: {kind.title} is not installed and left out; `make bench-servers` installs it")
    plan = Plan(
        [model], servers, (1, 8, 64), (1, 32), run_profile.rounds, run_profile.seconds, run_profile.slow_seconds
    )
    yield from compare(plan, console)


def section(cells: Sequence[Cell]) -> list[str]:
    """One table per load."""
    lines = [f"Medians of {len(cells[0].rounds)} interleaved rounds; ratios are taken within a round."]
    for title, load in groupby(cells, heading):
        lines += ["", f"### {title}", "", *table(list(load), ("A",))]
    return lines


def claims(cells: Sequence[Cell]) -> list[Claim]:
    """What is asked of throughput, of telemetry's share of it, and of latency."""
    model = cells[0].model
    return [
        *(
            Claim(f"{model}, 64 clients, 1 row: requests/s, times {_TITLES[base]}", asked, _times(cells, base))
            for base, asked in THROUGHPUT[model].items()
        ),
        Claim(
            f"{model}, 64 clients, 1 row: requests/s, times telemetry off", at_least(0.85, 0.9), _times(cells, "F-off")
        ),
        Claim(f"{model}, 64 clients, 1 row: p99, times p50", at_most(2), _tail(cells)),
        Claim(f"{model}, a lone client, 1 row: p50, times that of {_TITLES['A']}", at_most(1), _alone(cells)),
    ]


def _times(cells: Sequence[Cell], base: str) -> list[float]:
    ours, theirs = _under_load(cells, "F"), _under_load(cells, base)
    return ours.times(theirs) if ours and theirs else []


def _under_load(cells: Sequence[Cell], server: str) -> Cell | None:
    """A server under 64 clients; of E the one with the highest median throughput."""
    load = [cell for cell in cells if (cell.rows, cell.clients) == (1, 64)]
    if server == "E":
        return max((cell for cell in load if cell.server.startswith("E-")), key=lambda cell: cell.per_s, default=None)
    return find(load, 1, 64, server)


def _tail(cells: Sequence[Cell]) -> list[float]:
    ours = find(cells, 1, 64, "F")
    return [each.p99_ms / each.p50_ms for each in ours.rounds] if ours else []


def _alone(cells: Sequence[Cell]) -> list[float]:
    ours, empty = find(cells, 1, 1, "F"), find(cells, 1, 1, "A")
    return [a.p50_ms / b.p50_ms for a, b in zip(ours.rounds, empty.rounds, strict=True)] if ours and empty else []
