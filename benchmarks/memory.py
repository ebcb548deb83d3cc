"""Memory of a server after ten thousand requests and after a million, and with several workers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from rich.console import Console
from rich.progress import Progress

from benchmarks.bodies import requests
from benchmarks.claims import Claim, at_most
from benchmarks.load import drive
from benchmarks.models import bundle_folder
from benchmarks.profile import RunProfile
from benchmarks.servers import KINDS, SINK, running

CLIENTS = 64
AT_ONCE = 10_000
WORKERS = {1: "F", 2: "F-2", 4: "F-4"}
SETTLE_S = 6.0
"""Longer than the interval of exports, so that one lies behind every reading."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes after so many requests of one row, since the start.

    workers: numbers of them. pss_bytes: of all processes with so many, after the first number of requests.
    """

    requests: tuple[int, ...]
    size_bytes: tuple[int, ...]
    workers: tuple[int, ...] = ()
    pss_bytes: tuple[int, ...] = ()

    @property
    def growth_percent(self) -> float:
        """From the first reading to the last."""
        return (self.size_bytes[-1] / self.size_bytes[0] - 1) * 100


def measure(run_profile: RunProfile, console: Console) -> Iterator[Memory]:
    """Sends the requests, everything on, and reads the server's memory twice."""
    sizes: list[int] = []
    with running(SINK, Path(), 0) as sink, running(KINDS["F"], bundle_folder("logistic"), sink.port) as server:
        bodies, sent = requests(server, 1), 0
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("requests", total=run_profile.requests[-1])
            for total in run_profile.requests:
                while sent < total:
                    number = min(AT_ONCE, total - sent)
                    drive(server.port, bodies, clients=CLIENTS, seconds=600, at_most=number)
                    sent += number
                    progress.update(task, completed=sent)
                sleep(SETTLE_S)
                sizes.append(server.memory_bytes())
    pss = [_pss_bytes(name, run_profile.requests[0]) for name in WORKERS.values()]
    memory = Memory(run_profile.requests, tuple(sizes), tuple(WORKERS), tuple(pss))
    console.print(*section(memory), sep="\n")
    yield memory


def section(memory: Memory) -> list[str]:
    """A table."""
    return [
        f"Sightline, everything on, logistic regression, {CLIENTS} clients, 1 row per request; bytes that its "
        "processes do not share (USS), after an export.",
        "",
        "| after requests | MB |",
        "|---:|---:|",
        *(f"| {n:,} | {size / 1e6:.1f} |" for n, size in zip(memory.requests, memory.size_bytes, strict=True)),
        "",
        f"All processes after {memory.requests[0]:,} requests; a page that n of them share counts as an nth (PSS).",
        "",
        "| workers | MB |",
        "|---:|---:|",
        *(f"| {n} | {size / 1e6:.1f} |" for n, size in zip(memory.workers, memory.pss_bytes, strict=True)),
    ]


def claims(memory: Memory) -> list[Claim]:
    """It does not grow."""
    first, last = memory.requests[0], memory.requests[-1]
    what = f"memory after {last:,} requests, more than after {first:,}"
    return [Claim(what, at_most(5, " %"), [memory.growth_percent])]


def _pss_bytes(name: str, n_requests: int) -> int:
    with running(SINK, Path(), 0) as sink, running(KINDS[name], bundle_folder("logistic"), sink.port) as server:
        server.await_idle()
        drive(server.port, requests(server, 1), clients=CLIENTS, seconds=600, at_most=n_requests)
        sleep(SETTLE_S)
        return server.pss_bytes()
