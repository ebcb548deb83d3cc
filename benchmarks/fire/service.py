"""The service under fire: `sightline serve` with several workers, seen through its port and its shared memory."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from benchmarks.load import HOST
from benchmarks.models import bundle_folder
from benchmarks.servers import KINDS, ROOT, Server, running
from sightline_telemetry.events.memory import Board
from tests.stack.polling import poll_until

N_WORKERS = 4
ROWS = "ml_predictions_total"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_PATIENCE_S = 60.0


class Scrape:
    """The samples of one answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[str, float]]] = {}
        for name, labels, value in _SAMPLE.findall(text):
            self._samples.setdefault(name, []).append((labels, float(value)))

    def total(self, name: str, *labels: str) -> int:
        """Returns the sum of the samples of a name whose labels contain all these texts."""
        found = self._samples.get(name, ())
        return int(sum(value for have, value in found if all(label in have for label in labels)))

    def totals(self, name: str, label: str) -> dict[str, int]:
        """Returns the sum of the samples of a name for each value of a label."""
        values = re.compile(rf'\b{label}="([^"]*)"')
        sums: dict[str, int] = {}
        for have, value in self._samples.get(name, ()):
            for key in values.findall(have):
                sums[key] = sums.get(key, 0) + int(value)
        return sums


@dataclass(frozen=True)
class Service:
    """A running service, and a view of the memory that its processes share."""

    server: Server
    board: Board

    @property
    def port(self) -> int:
        """The port on which it serves."""
        return self.server.port

    def get(self, path: str) -> tuple[int, str]:
        """Requests a path over a connection of its own, so that any worker may answer; returns status and body."""
        connection = HTTPConnection(HOST, self.port, timeout=15)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def try_scrape(self) -> Scrape | None:
        """Returns one scrape; None if the observer is away or the worker that took the connection was killed."""
        try:
            status, text = self.get("/metrics")
        except (OSError, HTTPException):
            return None
        return Scrape(text) if status == 200 else None

    def scrape(self) -> Scrape:
        """Returns the first scrape that is answered."""
        found = poll_until(self.try_scrape, _PATIENCE_S)
        assert found is not None
        return found

    def serving(self) -> list[int]:
        """Returns the indices of the workers that are able to serve now."""
        seats = [self.board.seat(index) for index in range(self.board.n_workers)]
        return [i for i, seat in enumerate(seats) if seat.process.is_serving]

    def await_all(self) -> None:
        """Waits until all workers serve and the observer answers."""
        poll_until(lambda: len(self.serving()) == self.board.n_workers, _PATIENCE_S)
        self.scrape()

    def signal_observer(self, number: signal.Signals) -> int:
        """Sends a signal to the observer, as soon as there is one; returns the generation of its process."""
        words = self.board.observer
        pid = poll_until(lambda: words.pid, _PATIENCE_S)
        generation = words.generation
        os.kill(pid, number)
        return generation


@contextmanager
def serving(
    n_workers: int = N_WORKERS,
    bundle: Path | None = None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Runs a service until the end of the block; all its workers serve by then. environment: more variables."""
    kind = KINDS["F-no-otlp"]
    command = (*kind.command, "--workers", str(n_workers))
    kind = replace(kind, command=command, environment={"PYTHONPATH": str(ROOT), **(environment or {})})
    with running(kind, bundle or bundle_folder("logistic"), 0, stdout=stdout) as server:
        service = Service(server, _board(server.process.pid))
        service.await_all()
        yield service


def _board(supervisor: int) -> Board:
    """Maps the shared memory that a supervisor has made; this process only reads it."""
    folder = Path(f"/proc/{supervisor}/fd")
    found = next(link for link in folder.iterdir() if "memfd:sightline" in str(link.readlink()))
    return Board.attach(os.open(found, os.O_RDWR))
