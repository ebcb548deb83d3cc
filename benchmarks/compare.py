"""One harness for every comparison: all servers run at once, each is loaded in turn, ratios are of one round.

    uv run python -m benchmarks.compare [--servers A,F,...] [--models ...] [--clients ...] [--rows ...] [--rounds N]

So a busy machine slows all of them alike. This prints a comparison of one's own choice; `benchmarks.bench` makes those
of the page. The servers of others need environments of their own: `make bench-servers` makes them, and those that are
not there are left out and named.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from rich.console import Console
from rich.progress import track

from benchmarks.bodies import requests
from benchmarks.load import Measured, drive
from benchmarks.models import CLASSIFIERS, bundle_folder
from benchmarks.results_table import Cell, heading, table
from benchmarks.servers import KINDS, SINK, Server, running

WARM_UP_S = 0.3
SETTLE_S = 0.25
"""What a server does after its answers, such as writing its log, must not be charged to the next one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    models: Sequence[str]
    servers: Sequence[str]
    clients: Sequence[int]
    rows: Sequence[int]
    rounds: int
    seconds: float
    slow_seconds: float


def compare(plan: Plan, console: Console) -> Iterator[list[Cell]]:
    """Measures, prints each load when it is done, and gives all cells so far; cells are in the order of the servers."""
    cells: list[Cell] = []
    for model in plan.models:
        with ExitStack() as stack:
            sink = stack.enter_context(running(SINK, Path(), 0)).port
            folder = bundle_folder(model)
            names = track(plan.servers, f"{model}: servers start", console=console, transient=True)
            servers = [stack.enter_context(running(KINDS[name], folder, sink)) for name in names]
            for rows in plan.rows:
                for clients in plan.clients:
                    load = _loaded(servers, model, rows, clients, plan, console)
                    console.print(f"\n{heading(load[0])}", *table(load, plan.servers[:1]), sep="\n")
                    cells += load
                    yield cells


def _loaded(servers: Sequence[Server], model: str, rows: int, clients: int, plan: Plan, console: Console) -> list[Cell]:
    bodies = {server.kind.name: requests(server, rows) for server in servers}
    measured: dict[str, list[Measured]] = {name: [] for name in bodies}
    cpu: dict[str, list[float]] = {name: [] for name in bodies}
    for number in track(range(plan.rounds + 1), f"{model}: rounds", console=console, transient=True):
        # To and fro, so that none is always the one after the same other.
        for server in servers if number % 2 else reversed(servers):
            name, before = server.kind.name, server.cpu_s()
            seconds = plan.slow_seconds if server.kind.is_slow else plan.seconds
            result = drive(server.port, bodies[name], clients=clients, seconds=seconds if number else WARM_UP_S)
            if not server.kind.is_slow:
                sleep(SETTLE_S)
            if number:
                measured[name].append(result)
                cpu[name].append((server.cpu_s() - before) / result.requests * 1e6)
    return [Cell(model, rows, clients, name, tuple(measured[name]), tuple(cpu[name])) for name in bodies]


def main() -> None:
    """Compares the servers that the command line names, and prints each load as it is done."""
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
        min(given.seconds, 1.0),
    )
    for _ in compare(plan, Console(soft_wrap=True, highlight=False)):
        pass


if __name__ == "__main__":
    main()
