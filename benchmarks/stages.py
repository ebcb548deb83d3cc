"""Where a request's time goes: the stacks of a server under load, sampled by py-spy and added up by stage."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

from rich.console import Console

from benchmarks import bulk
from benchmarks.bodies import requests
from benchmarks.load import drive, post
from benchmarks.models import bundle_folder
from benchmarks.profile import RunProfile
from benchmarks.results_table import counted
from benchmarks.servers import CACHE, KINDS, SINK, Server, running
from sightline_service.bundles.bundle import load_bundle

PY_SPY = CACHE / "tools/bin/py-spy"
PER_S = 250
AROUND_S = 2.0
"""The load begins before the profiler, which takes a moment to find its way, and ends after it."""

MAIN = "MainThread"
THREADS = (
    ("metrics of other instrumentations: collecting, sending", re.compile(r"Otel")),
    ("predicting, in the model's thread", re.compile(r"model")),
)
WITHIN = (
    ("writing predicted rows into the event", re.compile(r"sightline_service/prediction/recording\.py")),
    ("prediction ids", re.compile(r"sightline_service/feedback/prediction_ids\.py")),
    ("predicting", re.compile(r"sightline_service/prediction/(predictor|result|batching|fastpath/\w+)\.py")),
)
"""Stages that have all that is called from them."""

ITSELF = (
    ("measuring: ids, context, times, event", re.compile(r"sightline_telemetry/|opentelemetry/")),
    (
        "reading: body, JSON, checks, columns",
        re.compile(r"sightline_service/prediction/(instances|columns|tensors)\.py|read_body|Dialect\.read"),
    ),
    ("writing to sockets: system calls", re.compile(r"sightline_service/server/joined_writes\.py")),
    (
        "writing the answer",
        re.compile(r"respond|Dialect\.answer|_write|routes/(predict|json_rows)\.py"),
    ),
    ("the bypass: HTTP", re.compile(r"sightline_service/server/(protocol|asgi_bypass)\.py")),
    ("the endpoint around it", re.compile(r"sightline_service/(routes|server)/")),
    ("FastAPI and Starlette", re.compile(r"fastapi/|starlette/")),
    ("uvicorn: HTTP and ASGI", re.compile(r"uvicorn/(protocols|middleware)/")),
    ("event loop: polling, reading from sockets", re.compile(r"asyncio/|uvloop|uvicorn/")),
)
"""Stages that a stack belongs to by the innermost frame that is of any of them."""

OBSERVER = "the observer: folding, traces, log, export, in a process of its own"
_OF_OBSERVER = "sightline_telemetry.observer.process"

_WAITING = re.compile(r"^(Condition\.wait|Event\.wait|Queue\.get|_worker|wait|get) \((threading|queue|concurrent/)")


@dataclass(frozen=True, slots=True)
class Load:
    """What the server is at while it is sampled."""

    model: str
    clients: int
    rows: int

    def __str__(self) -> str:
        return f"{self.model}, {counted(self.clients, 'client')}, {counted(self.rows, 'row')} a request"

    def bodies(self, server: Server) -> list[bytes]:
        """Whole requests."""
        if self.rows != bulk.N_ROWS:
            return requests(server, self.rows)
        flights = bulk.flight_batches(load_bundle(bundle_folder(self.model)))
        return [post(server.kind.path, body.content, server.port) for body in flights.bodies["objects"]]


LOADS = (Load("logistic", 64, 1), Load("boosting", 64, 1), Load("logistic", 1, bulk.N_ROWS))


@dataclass(frozen=True, slots=True)
class Stages:
    """Samples by stage and by innermost function. cpu_us: CPU time of a request while it was sampled.

    fault: why there are none.
    """

    samples: tuple[tuple[str, int], ...] = ()
    functions: tuple[tuple[str, int], ...] = ()
    cpu_us: float = 0.0
    fault: str = ""


Profiles = dict[str, Stages]
"""By what the load was."""


def measure(run_profile: RunProfile, console: Console) -> Iterator[Profiles]:
    """Samples the server under some loads, everything on; gives what there is after each."""
    profiles: Profiles = {}
    for load in LOADS:
        if PY_SPY.exists():
            with running(SINK, Path(), 0) as sink, running(KINDS["F"], bundle_folder(load.model), sink.port) as server:
                profiles[str(load)] = _sampled(server, load, max(2, round(run_profile.seconds * 8)))
        else:
            profiles[str(load)] = Stages(fault="py-spy is not installed; `make bench-servers` installs it")
        console.print(f"\n{load}", *_tables(profiles[str(load)]), sep="\n")
        yield profiles


def section(profiles: Profiles) -> list[str]:
    """Two tables a load."""
    lines = [
        f"Sightline, everything on: what the threads of its processes were at, sampled by py-spy {PER_S} times per "
        "second; threads that wait are left out. Microseconds are a share of the CPU time that a request took "
        "meanwhile.",
    ]
    for load, stages in profiles.items():
        lines += ["", f"### Profile: {load}", "", *_tables(stages)]
    return lines


def _tables(stages: Stages) -> list[str]:
    if stages.fault:
        return [f"No profile: {stages.fault}."]
    total = sum(number for _, number in stages.samples)
    return [
        "| stage | share | us per request |",
        "|---|---:|---:|",
        *(f"| {name} | {n / total:.1%} | {n / total * stages.cpu_us:,.1f} |" for name, n in stages.samples),
        f"| all: {total:,} samples | | {stages.cpu_us:,.1f} |",
        "",
        "| function, without what it calls | share |",
        "|---|---:|",
        *(f"| `{name}` | {n / total:.1%} |" for name, n in stages.functions),
    ]


def added_up(lines: Iterable[str], cpu_us: float) -> Stages:
    """Stacks as py-spy writes them (processes, thread, frames between semicolons, then how often) by stage."""
    stages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        named = stack.split(";")
        processes = [*takewhile(lambda name: name.startswith("process "), named)]
        thread, *frames = named[len(processes) :]
        if frames and not _WAITING.match(frames[-1]):
            is_observer = bool(processes) and _OF_OBSERVER in processes[-1]
            stages[OBSERVER if is_observer else _stage(thread.partition(": ")[2], frames)] += int(number)
            functions[re.sub(r":\d+\)$", ")", frames[-1])] += int(number)
    return Stages(tuple(stages.most_common()), tuple(functions.most_common(15)), cpu_us)


def _stage(thread: str, frames: Sequence[str]) -> str:
    if thread != MAIN:
        return next((name for name, pattern in THREADS if pattern.search(thread)), f"thread {thread}")
    for name, pattern in WITHIN:
        if any(pattern.search(frame) for frame in frames):
            return name
    for frame in reversed(frames):
        for name, pattern in ITSELF:
            if pattern.search(frame):
                return name
    return "anything else"


def _sampled(server: Server, load: Load, seconds: int) -> Stages:
    bodies = load.bodies(server)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        file = Path(folder) / "stacks.txt"
        command = [
            PY_SPY,
            "record",
            "--format",
            "raw",
            "--threads",
            "--subprocesses",
            "--rate",
            str(PER_S),
            "--output",
            file,
        ]
        command += ["--duration", str(seconds), "--pid", str(server.process.pid)]
        before = server.cpu_s()
        driven = pool.submit(drive, server.port, bodies, clients=load.clients, seconds=seconds + 2 * AROUND_S)
        sleep(AROUND_S / 2)
        ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)  # noqa: S603
        n_requests = driven.result().requests
        cpu_us = (server.cpu_s() - before) / n_requests * 1e6
        if ended.returncode or not file.exists():
            return Stages(fault=f"py-spy ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
        return added_up(file.read_text(encoding="utf-8").splitlines(), cpu_us)
