"""How long a server takes from the start of its process until it is ready, and until its first answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep

from rich.console import Console
from rich.progress import track

from benchmarks.bodies import requests
from benchmarks.load import HOST, drive
from benchmarks.models import bundle_folder
from benchmarks.profile import RunProfile
from benchmarks.results_table import spread
from benchmarks.servers import KINDS, SINK, running

READY = {"A": "/openapi.json", "B": "/openapi.json", "F": "/readyz", "F-2": "/readyz", "F-4": "/readyz"}
"""The servers, and what is requested of them. A and B have no probe: whatever they answer first."""

_AGAIN_S = 0.005


@dataclass(frozen=True, slots=True)
class StartUp:
    """Seconds since the start of the process, one a round: until 200 from READY, and until the first prediction."""

    server: str
    ready_s: tuple[float, ...]
    answered_s: tuple[float, ...]

    def line(self) -> str:
        """A row of the table."""
        title = f"{self.server}: {KINDS[self.server].title}"
        return f"| {title} | {READY[self.server]} | {spread(self.ready_s)} | {spread(self.answered_s)} |"


def measure(run_profile: RunProfile, console: Console) -> Iterator[list[StartUp]]:
    """Starts them in turn; the first round only brings their files into memory."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in READY}
    with running(SINK, Path(), 0) as sink:
        for number in track(range(run_profile.rounds + 1), "starts", console=console, transient=True):
            for name, each in times.items():
                started = _start(name, sink.port)
                if number:
                    each.append(started)
    starts = [StartUp(name, *(tuple(column) for column in zip(*each, strict=True))) for name, each in times.items()]
    console.print(*section(starts), sep="\n")
    yield starts


def section(starts: Sequence[StartUp]) -> list[str]:
    """A table."""
    return [
        "Seconds from the start of the process, with its files in memory and its bytecode compiled.",
        "",
        "| server | asked | until 200 | until the first prediction |",
        "|---|---|---:|---:|",
        *(start.line() for start in starts),
    ]


def _start(name: str, sink: int) -> tuple[float, float]:
    with running(KINDS[name], bundle_folder("logistic"), sink) as server:
        start = monotonic() - server.started_s
        while not _is_ready(server.port, READY[name]):
            sleep(_AGAIN_S)
        ready = monotonic()
        drive(server.port, requests(server, 1), clients=1, seconds=60, at_most=1)
        return ready - start, monotonic() - start


def _is_ready(port: int, path: str) -> bool:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    finally:
        connection.close()
