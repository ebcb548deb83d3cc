"""`sightline simulate`: runs a scenario with a live line of its progress and a summary at the end."""

import asyncio
import signal
from math import isnan
from time import monotonic

from rich.console import Console
from rich.table import Table

from sightline_service.demo.scenarios import Scenario
from sightline_service.demo.simulation import Simulation
from sightline_service.demo.stream import FlightStream

_LINE_EVERY_S = 0.5
_LOG_EVERY_S = 10.0


def simulate(url: str, scenario: Scenario, rate: float, duration_s: float | None, console: Console) -> bool:
    """Runs a scenario to its end; returns True if at least one request was answered."""
    simulation = Simulation(url, scenario, rate)
    with console.status("reading the flights of January to June"):
        flights = simulation.prepare()
    console.print(
        f"scenario [bold]{scenario}[/]: {rate:g} requests per second to {url}, "
        f"{'until Ctrl-C' if duration_s is None else f'for {duration_s:g} s'}"
    )
    asyncio.run(_run(simulation, flights, duration_s, console))
    console.print(_summary(simulation))
    _print_where_to_look(simulation, console)
    return bool(simulation.tally.durations_s)


async def _run(simulation: Simulation, flights: FlightStream, duration_s: float | None, console: Console) -> None:
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, simulation.stop)
    showing = asyncio.create_task(_show_progress(simulation, duration_s, console))
    try:
        await simulation.run(flights, duration_s)
    finally:
        showing.cancel()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signum)


async def _show_progress(simulation: Simulation, duration_s: float | None, console: Console) -> None:
    """Keeps one line up to date on a terminal; elsewhere, as in a container's log, prints a line every 10 s."""
    start_s = monotonic()
    with console.status("") as status:
        while True:
            await asyncio.sleep(_LINE_EVERY_S if console.is_terminal else _LOG_EVERY_S)
            line = _line(simulation, monotonic() - start_s, duration_s)
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line, highlight=False, soft_wrap=True)


def _line(simulation: Simulation, elapsed_s: float, duration_s: float | None) -> str:
    tally = simulation.tally
    p50_s, p99_s = tally.quantiles_s(0.5, 0.99)
    when = f"{elapsed_s:.0f} s" if duration_s is None else f"{elapsed_s:.0f} of {duration_s:g} s"
    if duration_s is not None and elapsed_s > duration_s:
        when = f"{duration_s:g} s are over, waiting for the last answers"
    failed = sum(count for status, count in tally.statuses.items() if not status.startswith("2"))
    return (
        f"{when}   {tally.statuses.total():,} requests   {tally.outcomes.total():,} rows   "
        f"{failed:,} not answered with 200   p50 {_ms(p50_s)}   p99 {_ms(p99_s)}"
    )


def _ms(seconds: float) -> str:
    return "-" if isnan(seconds) else f"{seconds * 1000:,.1f} ms"


def _summary(simulation: Simulation) -> Table:
    tally = simulation.tally
    table = Table("answer", "count", title="answers")
    counted = {"requests": tally.statuses, "rows": tally.outcomes, "labels": simulation.arrivals.answered}
    for what, counts in counted.items():
        for answer, count in sorted(counts.items()):
            table.add_row(f"{what}: {answer}", f"{count:,}")
    for name, seconds in zip(("p50", "p95", "p99"), tally.quantiles_s(0.5, 0.95, 0.99), strict=True):
        table.add_row(f"duration, {name}", _ms(seconds))
    return table


def _print_where_to_look(simulation: Simulation, console: Console) -> None:
    tally = simulation.tally
    if tally.slowest is not None:
        duration_s, trace_id = tally.slowest
        console.print(f"the slowest took {duration_s:.3f} s: trace {trace_id}", highlight=False)
    if tally.last_failed is not None:
        console.print(f"the last one that failed: trace {tally.last_failed}", highlight=False)
