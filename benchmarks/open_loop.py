"""Latency that clients feel: requests come at a set rate, whether or not earlier ones are answered.

A closed loop hides a pause: while a server stands still, its clients send nothing. Here each request has its time, and
its latency counts from then on (oha's correction for coordinated omission). `make bench-servers` builds oha.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from threading import Event, Thread

from rich.console import Console
from rich.progress import track

from benchmarks.bodies import requests
from benchmarks.claims import Claim, at_most
from benchmarks.load import HOST, drive
from benchmarks.models import bundle_folder
from benchmarks.profile import RunProfile
from benchmarks.results_table import spread
from benchmarks.servers import CACHE, KINDS, SINK, Server, running

OHA = CACHE / "tools" / "bin" / "oha"
CLIENTS = 64
SHARES = (0.25, 0.5, 0.75)
"""Of the rate that the empty endpoint carries in a closed loop."""
EVERY_SECOND = {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}
OFF = KINDS["F-off"]
SERVERS = (
    KINDS["A"],
    OFF,
    replace(OFF, name="F-off-2", title="Sightline, telemetry off, a second one"),
    replace(KINDS["F"], environment={**KINDS["F"].environment, **EVERY_SECOND}),
    replace(
        KINDS["F"],
        name="F-in-process",
        title="Sightline, everything on, its own observer",
        command=(*KINDS["F"].command, "--observer", "off"),
        environment={**KINDS["F"].environment, **EVERY_SECOND},
    ),
)
ROUNDS_FACTOR = 2.2
"""Eleven rounds where other chapters have five: a tail needs more."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """One server at one share of the rate: milliseconds per round."""

    server: str
    title: str
    share: float
    per_s: float
    p50_ms: tuple[float, ...]
    p99_ms: tuple[float, ...]
    p999_ms: tuple[float, ...]
    worst_ms: tuple[float, ...]


def measure(run_profile: RunProfile, console: Console) -> Iterator[list[Latencies]]:
    """All servers run at once, each is loaded in turn; those that count are scraped and export once per second."""
    if not OHA.exists():
        raise FileNotFoundError(f"{OHA} is not there: make bench-servers builds it")
    folder = bundle_folder("logistic")
    found: list[Latencies] = []
    with ExitStack() as stack:
        sink = stack.enter_context(running(SINK, Path(), 0)).port
        servers = [stack.enter_context(running(kind, folder, sink)) for kind in SERVERS]
        body = _body(servers[0])
        peak = drive(servers[0].port, requests(servers[0], 1), clients=CLIENTS, seconds=2 * run_profile.seconds).per_s
        console.print(f"the empty endpoint carries {peak:,.0f} requests per second")
        rounds = round(run_profile.rounds * ROUNDS_FACTOR)
        for share in SHARES:
            measured: dict[str, list[tuple[float, ...]]] = {server.kind.name: [] for server in servers}
            for number in track(range(rounds + 1), f"{share:.0%}: rounds", console=console, transient=True):
                for server in servers if number % 2 else reversed(servers):
                    with _scraped(server):
                        result = attack(server, body, share * peak, 2 * run_profile.seconds if number else 0.5)
                    if number:
                        measured[server.kind.name].append(result)
            found += [
                Latencies(kind.name, kind.title, share, share * peak, *zip(*measured[kind.name], strict=True))
                for kind in SERVERS
            ]
            console.print(*section(found[-len(SERVERS) :]), sep="\n")
            yield found


def attack(server: Server, body: str, per_s: float, seconds: float) -> tuple[float, ...]:
    """Sends requests at a rate; returns the milliseconds of p50, p99, p99.9 and the worst."""
    url = f"http://{HOST}:{server.port}{server.kind.path}"
    command = [str(OHA), "--no-tui", "--output-format", "json", "--latency-correction", "-c", str(CLIENTS)]
    command += ["-q", f"{per_s:.0f}", "-z", f"{seconds}s", "-m", "POST", "-T", "application/json", "-d", body, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    result = json.loads(done.stdout)
    if set(result["statusCodeDistribution"]) != {"200"}:
        raise ConnectionError(f"{server.kind.title} answered {result['statusCodeDistribution']}")
    percentiles = result["latencyPercentiles"]
    seconds_of = (percentiles["p50"], percentiles["p99"], percentiles["p99.9"], result["summary"]["slowest"])
    return tuple(each * 1e3 for each in seconds_of)


def section(latencies: Sequence[Latencies]) -> list[str]:
    """A table per share of the rate: milliseconds, medians over rounds, and ratios within a round."""
    lines: list[str] = []
    for share in dict.fromkeys(each.share for each in latencies):
        here = {each.server: each for each in latencies if each.share == share}
        off = here["F-off"]
        lines += [
            "",
            f"{share:.0%} of the empty endpoint's rate: {off.per_s:,.0f} requests per second, {CLIENTS} connections, "
            "scraped and exporting every second",
            "",
            "| server | p50 ms | p99 ms | p99.9 ms | worst ms | p99 times off | p99.9 times off |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for each in here.values():
            middle = " | ".join(f"{median(v):.2f}" for v in (each.p50_ms, each.p99_ms, each.p999_ms, each.worst_ms))
            ratios = f"{spread(_times(each.p99_ms, off.p99_ms))} | {spread(_times(each.p999_ms, off.p999_ms))}"
            lines.append(f"| {each.server}: {each.title} | {middle} | {ratios} |")
    return lines


def claims(latencies: Sequence[Latencies]) -> list[Claim]:
    """Telemetry is not felt."""
    found = []
    for share in dict.fromkeys(each.share for each in latencies):
        here = {each.server: each for each in latencies if each.share == share}
        on, off, empty = here["F"], here["F-off"], here["A"]
        found += [
            Claim(f"open loop at {share:.0%}: p99, times off", at_most(1.25), _times(on.p99_ms, off.p99_ms)),
            Claim(f"open loop at {share:.0%}: p99.9, times off", at_most(1.5), _times(on.p999_ms, off.p999_ms)),
            Claim(
                f"open loop at {share:.0%}: p99, times the empty endpoint", at_most(1), _times(on.p99_ms, empty.p99_ms)
            ),
        ]
    return found


def _times(values: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    return tuple(value / other for value, other in zip(values, others, strict=True))


def _body(server: Server) -> str:
    return requests(server, 1)[0].partition(b"\r\n\r\n")[2].decode()


@contextmanager
def _scraped(server: Server) -> Iterator[None]:
    """Scrapes a server once per second, if it counts."""
    if server.kind.name in ("A", "F-off", "F-off-2"):
        yield
        return
    stop = Event()

    def scrape_on() -> None:
        while not stop.wait(1.0):
            connection = HTTPConnection(HOST, server.port, timeout=10)
            with suppress(OSError):
                connection.request("GET", "/metrics", headers={"accept": "application/openmetrics-text"})
                connection.getresponse().read()
            connection.close()

    thread = Thread(target=scrape_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
