"""`sightline simulate`: runs a scenario against a running service, and prints a summary at the end."""

import asyncio
import signal
from functools import partial

import httpx2 as httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from sightline_service.demo.flights import FEATURES, load_flights, training_months
from sightline_service.demo.progress import milliseconds, run_shown
from sightline_service.demo.scenarios import DUMMIES, DUMMY_SHARE, Scenario, draw_flights
from sightline_service.demo.stream import FlightStream
from sightline_service.demo.traffic import Mix, Traffic
from sightline_service.diagnostics.credentials import NONE, Credentials, check_allowed
from sightline_service.errors import StartupError


class SimulationError(StartupError):
    """There is no service, or it does not take flights."""


def simulate(
    url: str,
    scenario: Scenario,
    rate: float,
    duration_s: float | None,
    console: Console,
    credentials: Credentials = NONE,
) -> bool:
    """Runs a scenario to its end; returns True if at least one request was answered."""
    check_service(url, scenario, credentials)
    with console.status("reading the flights of January to June"):
        flights = draw_flights(training_months(load_flights()), scenario, np.random.default_rng(2013))
    console.print(
        f"scenario [bold]{scenario}[/]: {rate:g} requests per second to {url}, "
        f"{'until Ctrl-C' if duration_s is None else f'for {duration_s:g} s'}"
    )
    traffic = Traffic(url, FlightStream(flights), scenario_mix(scenario, rate), credentials=credentials)
    asyncio.run(_run(traffic, duration_s, console))
    console.print(_summary(traffic))
    _print_where_to_look(traffic, console)
    return bool(traffic.tally.durations_s)


def scenario_mix(scenario: Scenario, rate: float) -> Mix:
    """Returns what a scenario sends. rate: requests per second, those to the dummy model included."""
    dummies_per_s = rate * DUMMY_SHARE if scenario in DUMMIES else 0.0
    return Mix(rate - dummies_per_s, dummies_per_s, DUMMIES.get(scenario, {}))


def check_service(url: str, scenario: Scenario, credentials: Credentials = NONE) -> None:
    """Raises SimulationError if the service does not answer, or does not take what the scenario sends."""
    try:
        response = httpx.get(f"{url}/openapi.json", timeout=10, **credentials.client_options())
        check_allowed(response)
        documented = response.raise_for_status().json()
        features = documented["components"]["schemas"]["Instance"]["properties"]
    except httpx.TransportError as error:
        raise SimulationError(f"nothing answers at {url} ({error}); start the service first") from error
    except (httpx.HTTPStatusError, ValueError, KeyError) as error:
        raise SimulationError(f"what answers at {url} is not Sightline ({error!r})") from error
    if set(features) != set(FEATURES):
        raise SimulationError(
            f"the service at {url} takes {', '.join(features)}, and what is sent here are flights; "
            "serve the bundle that `sightline train` makes"
        )
    if scenario in DUMMIES and "/predict/random" not in documented["paths"]:
        raise SimulationError(
            f"the scenario `{scenario}` needs /predict/random; start the service with SIGHTLINE_RANDOM_ENDPOINT=true"
        )


async def _run(traffic: Traffic, duration_s: float | None, console: Console) -> None:
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    for signum in signals:
        loop.add_signal_handler(signum, traffic.stop)
    try:
        await run_shown(traffic, duration_s, console, partial(_elapsed, duration_s))
    finally:
        for signum in signals:
            loop.remove_signal_handler(signum)


def _elapsed(duration_s: float | None, elapsed_s: float) -> str:
    if duration_s is None:
        return f"{elapsed_s:.0f} s"
    if elapsed_s > duration_s:
        return f"{duration_s:g} s are over, waiting for the last answers"
    return f"{elapsed_s:.0f} of {duration_s:g} s"


def _summary(traffic: Traffic) -> Table:
    tally = traffic.tally
    table = Table("answer", "count", title="answers")
    rows = {f"{model}: {outcome}": count for (model, outcome), count in tally.received.items()}
    for what, counts in (("requests", tally.statuses), ("rows", rows), ("labels", traffic.arrivals.answered)):
        for answer, count in sorted(counts.items()):
            table.add_row(f"{what}: {answer}", f"{count:,}")
    for name, seconds in zip(("p50", "p95", "p99"), tally.quantiles_s(0.5, 0.95, 0.99), strict=True):
        table.add_row(f"duration, {name}", milliseconds(seconds))
    return table


def _print_where_to_look(traffic: Traffic, console: Console) -> None:
    tally = traffic.tally
    if tally.slowest is not None:
        duration_s, trace_id = tally.slowest
        console.print(f"the slowest took {duration_s:.3f} s: trace {trace_id}", highlight=False)
    if tally.last_failed is not None:
        console.print(f"the last one that failed: trace {tally.last_failed}", highlight=False)
