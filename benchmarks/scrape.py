"""What a scrape costs: CPU time of the demo's server, while it answers `GET /metrics` in OpenMetrics."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from statistics import median
from time import perf_counter, sleep

from rich.console import Console

from benchmarks.bodies import requests
from benchmarks.claims import Claim, at_most
from benchmarks.load import HOST, drive
from benchmarks.models import bundle_folder
from benchmarks.profile import RunProfile
from benchmarks.results_table import spread
from benchmarks.servers import KINDS, Server, running

SCRAPES = 20
CLIENTS = 64
SETTLE_S = 1.0
ACCEPT = "application/openmetrics-text; version=1.0.0"
# As `sightline demo` sets them: no OTLP, but a ring of traces, so that there are exemplars.
DEMO = {
    "SIGHTLINE_TRACE_RING": "true",
    "SIGHTLINE_RANDOM_ENDPOINT": "true",
    "SIGHTLINE_REQUEST_LOG": "false",
}


@dataclass(frozen=True, slots=True)
class ScrapeCost:
    """Milliseconds of CPU and on the clock, one a scrape; lines that are samples, and bytes, of the last one."""

    cpu_ms: tuple[float, ...]
    clock_ms: tuple[float, ...]
    samples: int
    exemplars: int
    size_bytes: int


def measure(run_profile: RunProfile, console: Console) -> Iterator[ScrapeCost]:
    """Scrapes after traffic of single rows and of 32."""
    kind = replace(KINDS["F-no-otlp"], environment=DEMO)
    with running(kind, bundle_folder("logistic"), 0) as server:
        for n_rows in (1, 32):
            drive(server.port, requests(server, n_rows), clients=CLIENTS, seconds=2 * run_profile.seconds)
        sleep(SETTLE_S)
        _scraped(server)
        bodies, cpu_ms, clock_ms = zip(*(_scraped(server) for _ in range(SCRAPES)), strict=True)
    samples = [line for line in bodies[-1].splitlines() if not line.startswith(b"#")]
    n_exemplars = sum(b" # {" in line for line in samples)
    scrape = ScrapeCost(cpu_ms, clock_ms, len(samples), n_exemplars, len(bodies[-1]))
    console.print(*section(scrape), sep="\n")
    yield scrape


def section(scrape: ScrapeCost) -> list[str]:
    """What it is of, and what it costs."""
    return [
        f"`GET /metrics` of the demo's server (flights, logistic regression; no OTLP, traces in memory) after traffic, "
        f"in OpenMetrics: {scrape.samples:,} samples, {scrape.exemplars} exemplars, {scrape.size_bytes / 1e3:,.0f} kB. "
        f"Of {len(scrape.cpu_ms)} scrapes: {spread(scrape.cpu_ms)} ms of CPU time of all processes each, "
        f"{median(scrape.clock_ms):.1f} ms on the clock.",
    ]


def claims(scrape: ScrapeCost) -> list[Claim]:
    """It is cheap."""
    return [Claim("a scrape of the demo, CPU", at_most(20, " ms"), scrape.cpu_ms)]


def _scraped(server: Server) -> tuple[bytes, float, float]:
    """The body of one scrape, its CPU time and its time, in milliseconds."""
    connection = HTTPConnection(HOST, server.port, timeout=30)
    try:
        start, worked = perf_counter(), _cpu_s(server)
        connection.request("GET", "/metrics", headers={"accept": ACCEPT})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ConnectionError(f"/metrics answered {response.status}: {body[:300]!r}")
        return body, (_cpu_s(server) - worked) * 1e3, (perf_counter() - start) * 1e3
    finally:
        connection.close()


def _cpu_s(server: Server) -> float:
    """CPU time of its processes by Linux' clocks of them, in nanoseconds; /proc has it in steps of 10 ms."""
    return sum(time.clock_gettime((~process.pid << 3) | 2) for process in server.processes())
