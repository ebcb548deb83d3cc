"""One harness for every comparison: all servers run at once, each is loaded in turn, ratios are of one round.

    uv run python -m benchmarks.compare [--servers A,B,...] [--models ...] [--clients ...] [--rows ...] [--rounds N]

So a busy machine slows all of them alike. With the defaults it takes about 20 minutes and writes
benchmarks/results.md; parts of it only print. The servers of others need environments of their own: `make
bench-servers` makes them, and those that are not there are left out and named.
"""

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks.bodies import requests
from benchmarks.load import Measured, drive
from benchmarks.models import CLASSIFIERS, bundle_folder
from benchmarks.servers import KINDS, SINK, Server, running

PAGE = Path(__file__).with_name("results.md")
_PACKAGES = ("fastapi", "uvicorn", "scikit-learn", "numpy", "opentelemetry-sdk")


@dataclass(frozen=True, slots=True)
class Cell:
    """One server under one load: a measurement a round, and the CPU time of a request in microseconds."""

    model: str
    rows: int
    clients: int
    server: str
    rounds: tuple[Measured, ...]
    cpu_us: tuple[float, ...]

    def line(self, base: "Cell") -> str:
        """A row of the page: throughput against the base's of the same round, latency, CPU."""
        ratios = sorted(a.per_s / b.per_s for a, b in zip(self.rounds, base.rounds, strict=True))
        numbers = (
            f"{median(each.per_s for each in self.rounds):,.0f}",
            f"{median(ratios):.2f} ({ratios[0]:.2f} .. {ratios[-1]:.2f})",
            f"{median(each.p50_ms for each in self.rounds):.2f}",
            f"{median(each.p99_ms for each in self.rounds):.2f}",
            f"{median(self.cpu_us):,.0f}",
        )
        where = f"{self.model} | {self.rows} | {self.clients} | {self.server}: {KINDS[self.server].title}"
        return f"| {where} | {' | '.join(numbers)} |"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    models: Sequence[str]
    servers: Sequence[str]
    clients: Sequence[int]
    rows: Sequence[int]
    rounds: int
    seconds: float


def compare(plan: Plan) -> Iterator[list[Cell]]:
    """Measures, and gives the cells of one load at a time, in the order of the servers."""
    for model in plan.models:
        with ExitStack() as stack:
            sink = stack.enter_context(running(SINK, Path(), 0)).port
            folder = bundle_folder(model)
            servers = [stack.enter_context(running(KINDS[name], folder, sink)) for name in plan.servers]
            for rows in plan.rows:
                for clients in plan.clients:
                    yield _loaded(servers, model, rows, clients, plan)


def _loaded(servers: Sequence[Server], model: str, rows: int, clients: int, plan: Plan) -> list[Cell]:
    bodies = {server.kind.name: requests(server, rows) for server in servers}
    measured: dict[str, list[Measured]] = {name: [] for name in bodies}
    cpu: dict[str, list[float]] = {name: [] for name in bodies}
    for number in range(plan.rounds + 1):
        for server in servers:
            name, before = server.kind.name, server.cpu_s()
            seconds = plan.seconds if number else 0.3  # the first round only warms up
            result = drive(server.port, bodies[name], clients=clients, seconds=seconds)
            if number:
                measured[name].append(result)
                cpu[name].append((server.cpu_s() - before) / result.requests * 1e6)
    return [Cell(model, rows, clients, name, tuple(measured[name]), tuple(cpu[name])) for name in bodies]


def page(cells: Sequence[list[Cell]], plan: Plan) -> str:
    """The results as a page."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    head = [
        "# Results",
        "",
        f"Made by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python "
        f"{platform.python_version()}, {versions}. Medians of {plan.rounds} interleaved rounds of {plan.seconds:g} s; "
        f"the ratio to {plan.servers[0]} is taken within each round, with its range.",
        "",
        "| model | rows | clients | server | requests/s | ratio | p50 ms | p99 ms | CPU us a request |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(cell.line(load[0]) for load in cells for cell in load), ""])


def main() -> None:
    """Compares, prints each load as it is done, and writes the page if everything was compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CLASSIFIERS))
    parser.add_argument("--servers", default=",".join(name for name, kind in KINDS.items() if kind.is_there))
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--rows", default="1,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    given = parser.parse_args()
    plan = Plan(
        given.models.split(","),
        given.servers.split(","),
        [int(each) for each in given.clients.split(",")],
        [int(each) for each in given.rows.split(",")],
        given.rounds,
        given.seconds,
    )
    console, cells = Console(soft_wrap=True, highlight=False), []
    for name, kind in KINDS.items():
        if not kind.is_there:
            console.print(f"{name}: {kind.title} is not installed and left out; `make bench-servers` installs it")
    for load in compare(plan):
        cells.append(load)
        for cell in load:
            console.print(cell.line(load[0]))
    if len(sys.argv) == 1:
        PAGE.write_text(page(cells, plan), encoding="utf-8")
        console.print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
