"""What the telemetry costs a request: CPU time and instructions of a worker, and CPU time of its observer.

    uv run python benchmarks/request_cost.py

A worker's protocol is given whole requests, without a socket and without a load generator beside it: with everything
on (ids, slot, one event in shared memory), with telemetry off, and off again, in interleaved rounds. The observer
reads the events in between, in the same process. Instructions are counted by valgrind's callgrind, if it is installed.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from types import SimpleNamespace
from typing import Any
from unittest import mock

import uvicorn
import uvloop
from uvicorn.server import ServerState

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bodies import requests
from benchmarks.models import bundle_folder
from benchmarks.results_table import spread
from sightline_service.app import create_app
from sightline_service.prediction import batching
from sightline_service.server.options import server_options
from sightline_service.server.protocol import BypassProtocol
from sightline_telemetry.events.memory import Board
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.observer.process import BoardObserver

ROUNDS = 5
REQUESTS = 4_000
COUNTED_REQUESTS = 400
AT_A_TIME = 500
ROWS = (1, 32)
VARIANTS = ("on", "off", "off again")


class Nowhere(asyncio.Transport):
    """A connection that takes every answer."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50_000)})
        self.answered = b""

    def write(self, data: Any) -> None:
        """Keeps the last answer."""
        self.answered = data

    def is_closing(self) -> bool:
        """False: it stays open."""
        return False


class Worker:
    """One app, served in this process as a worker serves it; observer: None with telemetry off."""

    def __init__(self, app: Any, observer: BoardObserver | None) -> None:
        config = uvicorn.Config(app, **server_options("127.0.0.1", 8000, log_config=None))
        config.load()
        self._protocol = BypassProtocol(config, ServerState(), {})
        self._transport = Nowhere()
        self._protocol.connection_made(self._transport)
        self.observer = observer

    async def serve(self, request: bytes, n: int) -> float:
        """Answers n requests, one in each turn of the event loop; returns the CPU seconds."""
        start = process_time()
        for _ in range(n):
            self._protocol.data_received(request)
            await asyncio.sleep(0)
        took = process_time() - start
        if not self._transport.answered.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the answer is {self._transport.answered[:300]!r}")
        return took

    def observe(self) -> float:
        """Reads the events; returns the CPU seconds."""
        start = process_time()
        if self.observer is not None:
            self.observer.fold()
        return process_time() - start


@asynccontextmanager
async def working(bundle: Path, variant: str) -> Any:
    """A worker of a bundle, with or without telemetry."""
    board = Board.create(1)
    board.seat(0).process.begin()
    given = Inheritance(board=board.fd, lifeline=-1, worker=0, observer_socket="")
    environment = mock.patch.dict(os.environ, {"OTEL_SDK_DISABLED": str(variant != "on").lower()})
    quick = mock.patch.object(batching, "AT_ONCE_NS", 10**9)  # under valgrind, no model is quick
    with environment, quick:
        app = create_app(bundle=bundle, inheritance=given)
    app.middleware_stack = app.build_middleware_stack()
    async with app.router.lifespan_context(app):
        description = board.description()
        yield Worker(app, None if description is None else BoardObserver(board, description))


async def measure(bundle: Path, request: bytes) -> tuple[dict[str, list[float]], list[float]]:
    """CPU microseconds of a request, by variant and round; those of the observer."""
    async with working(bundle, "on") as on, working(bundle, "off") as off, working(bundle, "off") as again:
        workers = dict(zip(VARIANTS, (on, off, again), strict=True))
        found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        observed = []
        for number in range(ROUNDS + 1):
            seconds, watched = dict.fromkeys(VARIANTS, 0.0), 0.0
            for _ in range(REQUESTS // AT_A_TIME):
                for variant, worker in workers.items():
                    seconds[variant] += await worker.serve(request, AT_A_TIME)
                    watched += worker.observe()
            if number:
                observed.append(watched / REQUESTS * 1e6)
                for variant, took in seconds.items():
                    found[variant].append(took / REQUESTS * 1e6)
        return found, observed


async def serve_counted(bundle: Path, request: bytes, variant: str) -> None:
    """Serves some requests while callgrind, in which this process runs, counts."""
    async with working(bundle, variant) as worker:
        await worker.serve(request, AT_A_TIME)
        with counting():
            await worker.serve(request, COUNTED_REQUESTS)


@contextmanager
def counting() -> Iterator[None]:
    """Has callgrind count instructions during the block."""
    for state in ("on", "off"):
        control = subprocess.Popen(  # noqa: S603
            ["callgrind_control", f"--instr={state}", str(os.getpid())],  # noqa: S607
            stdout=subprocess.DEVNULL,
        )
        while control.poll() is None:  # valgrind takes a command while its program runs, not while it waits
            sum(range(1000))
        if control.returncode:
            raise ChildProcessError(f"callgrind_control ended with {control.returncode}")
        if state == "on":
            yield


def instructions(rows: int, variant: str) -> float:
    """Instructions of a request, as callgrind counts them."""
    with TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        command += [sys.executable, __file__, str(rows), variant]
        environment = os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    collected = re.search(r"Collected : (\d+)", done.stderr)
    assert collected is not None, done.stderr[-500:]
    return int(collected[1]) / COUNTED_REQUESTS


def request_of(rows: int) -> bytes:
    """A whole request."""
    server = SimpleNamespace(kind=SimpleNamespace(path="/predict/model", name="F"), port=8000)
    return requests(server, rows)[0]  # type: ignore[arg-type]  # it has all that is read


def main() -> None:
    """Prints the cost per request: medians, and the range over the rounds."""
    bundle = bundle_folder("logistic")
    if sys.argv[1:]:
        n_rows, variant = sys.argv[1:]
        uvloop.run(serve_counted(bundle, request_of(int(n_rows)), variant))
        return
    for rows in ROWS:
        found, observed = uvloop.run(measure(bundle, request_of(rows)))
        off = found["off"]
        costs = {name: [a - b for a, b in zip(found[name], off, strict=True)] for name in ("on", "off again")}
        print(f"{rows} rows per request, CPU us: off {median(off):.2f}, on {median(found['on']):.2f}", end="; ")
        print(f"telemetry costs {spread(costs['on'])} (off against off {spread(costs['off again'])})", end="; ")
        print(f"the observer {spread(observed)}")
        if shutil.which("callgrind_control"):
            on, without = instructions(rows, "on"), instructions(rows, "off")
            print(f"{'':8} instructions: off {without:,.0f}, on {on:,.0f}; telemetry costs {on - without:,.0f}")


if __name__ == "__main__":
    main()
