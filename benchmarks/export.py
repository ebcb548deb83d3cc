"""How long an export keeps other threads waiting: one thread spins while another collects, encodes and sends.

The spinning thread stands for the event loop of a process that observes itself. What it misses between two turns is
what a request would wait.

    python -m benchmarks.export BUNDLE      in a process of its own, which `measure` starts
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter, process_time

import httpx2 as httpx
import msgspec
from rich.console import Console

from benchmarks.models import bundle_folder, flight_rows
from benchmarks.profile import RunProfile
from benchmarks.results_table import spread
from benchmarks.servers import ROOT, SINK, bare_environment, running
from sightline_service.app import Parts, create_app
from sightline_service.telemetry import TailSampled
from sightline_telemetry.observer.observer import Observer

N_ROWS = 500
WARM_UPS = 3
EXPORTS = 20
LONG_MS = 1.0
WAIT_S = 20.0
NEVER_MS = "3600000"


@dataclass(frozen=True, slots=True)
class ExportCost:
    """Milliseconds, one an export. cpu: of the whole export, alone.

    longest, stolen: of a spinning thread meanwhile: its longest gap, and the sum of its gaps over LONG_MS.
    idle: its longest gap while nothing is exported.
    """

    series: int
    cpu_ms: tuple[float, ...]
    longest_ms: tuple[float, ...]
    stolen_ms: tuple[float, ...]
    idle_ms: tuple[float, ...]


def measure(run_profile: RunProfile, console: Console) -> Iterator[ExportCost]:  # noqa: ARG001  # an export is an export
    """Exports the metrics of the flights' bundle to a sink, in a process of its own."""
    with running(SINK, Path(), 0) as sink:
        environment = bare_environment() | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.port}",
            "OTEL_METRIC_EXPORT_INTERVAL": NEVER_MS,
        }
        command = [sys.executable, "-m", "benchmarks.export", str(bundle_folder("logistic"))]
        written = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603
    export = msgspec.json.decode(written.stdout, type=ExportCost)
    console.print(*section(export), sep="\n")
    yield export


def section(export: ExportCost) -> list[str]:
    """What it is of, and what it costs."""
    return [
        f"Metrics of the flights' bundle, {export.series} series, by OTLP over HTTP, {len(export.cpu_ms)} times: "
        f"{spread(export.cpu_ms)} ms of CPU to collect, encode and send. A thread that spins meanwhile, as the event "
        f"loop would, waits at most {spread(export.longest_ms)} ms at a time, {median(export.stolen_ms):.1f} ms in "
        f"all (gaps above {LONG_MS:g} ms); with nothing to export, at most {spread(export.idle_ms)} ms. This is the "
        "cost in a process that observes itself, as an app that embeds the service does. Under `sightline serve` the "
        "observer process exports, and no request waits for it. Python hands the interpreter over after "
        f"{sys.getswitchinterval() * 1e3:g} ms.",
    ]


async def main(folder: Path) -> None:
    """Serves some rows, exports, and prints an ExportCost as JSON."""
    app = create_app(bundle=folder, request_log=False)
    parts: Parts = app.state.parts
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            for row in flight_rows()[:N_ROWS]:
                (await client.post("/predict/model", json={"instances": [row]})).raise_for_status()
        sys.stdout.buffer.write(msgspec.json.encode(_measured(parts)))


def _measured(parts: Parts) -> ExportCost:
    """Holds the event loop, which has nothing else to do."""
    flush = _observer(parts).providers.flush
    for _ in range(WARM_UPS):
        flush(WAIT_S)
    cpu, longest, stolen, idle = [], [], [], []
    for _ in range(EXPORTS):
        start, worked = perf_counter(), process_time()
        flush(WAIT_S)
        cpu.append((process_time() - worked) * 1e3)
        took = perf_counter() - start
        thread = Thread(target=flush, args=(WAIT_S,))
        thread.start()
        gaps = _gaps_ms(thread.is_alive)
        longest.append(max(gaps, default=0.0))
        stolen.append(sum(gap for gap in gaps if gap > LONG_MS))
        until = perf_counter() + took
        idle.append(max(_gaps_ms(lambda: perf_counter() < until), default=0.0))  # noqa: B023  # called at once
    return ExportCost(_series(parts), tuple(cpu), tuple(longest), tuple(stolen), tuple(idle))


def _observer(parts: Parts) -> Observer:
    """Returns the observer in this process."""
    if not isinstance(parts.telemetry, TailSampled):
        raise TypeError("the telemetry is switched off, or another instrumentation makes the spans")
    return parts.telemetry.process.observer


def _gaps_ms(goes_on: Callable[[], bool]) -> list[float]:
    """Spins, and gives the gaps between two turns that are longer than a turn takes."""
    gaps, last = [], perf_counter()
    while goes_on():
        now = perf_counter()
        if now - last > 5e-5:
            gaps.append((now - last) * 1e3)
        last = now
    return gaps


def _series(parts: Parts) -> int:
    """Data points of an export: a histogram is one, however many buckets it has."""
    text = _observer(parts).providers.scrape.render("")[0].decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    names = [line.partition("{")[0].partition(" ")[0] for line in lines]
    numbers = sum(not name.endswith(("_bucket", "_sum", "_count")) for name in names)
    return numbers + sum('le="+Inf"' in line for line in lines)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
