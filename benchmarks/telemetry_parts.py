"""What each part of the telemetry and of the bypass is worth: one server with parts left out, in the same rounds."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console

from benchmarks.compare import Plan, compare
from benchmarks.profile import RunProfile
from benchmarks.results_table import Cell, heading, table

TELEMETRY = ("F-off", "F-counts", "F-no-otlp", "F-no-traces", "F-no-log")
BYPASS = ("F-no-bypass", "F-no-joined-writes", "F-no-busy-rule")
SERVERS = ("A", *TELEMETRY, "F", *BYPASS)


def measure(run_profile: RunProfile, console: Console) -> Iterator[list[Cell]]:
    """The variants under 64 clients, with the model that costs least; gives all cells so far after each load."""
    plan = Plan(
        ["logistic"], SERVERS, (64,), (1, 32), run_profile.rounds, run_profile.seconds, run_profile.slow_seconds
    )
    yield from compare(plan, console)


def section(cells: Sequence[Cell]) -> list[str]:
    """One table per load, against the empty endpoint and against telemetry switched off."""
    lines = [
        "From `off` to everything: counts (request durations, predictions, features, the scrape), then the request "
        "log, then metrics by OTLP, then traces by OTLP. `F-no-log` leaves out the log alone. The last three leave out "
        "the bypass of ASGI, its joined writes, or the rule that a lone answer is written at once.",
    ]
    for title, load in groupby(cells, heading):
        one = list(load)
        lines += ["", f"### Parts: {title}", "", *table(one, ("A", "F-off"))]
    return lines
