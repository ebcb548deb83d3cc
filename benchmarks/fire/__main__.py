"""Puts a service under fire, and compares what it promises with what happens.

    uv run python -m benchmarks.fire [SCENARIO ...] [--quick] [--seed N]

Without scenarios, all of them: some ten minutes on two cores. It needs Linux, and Prometheus of `make stack`. The exit
code is 1 if a promise is broken. --quick does little of each: does it run?
"""

import argparse
import sys

from rich.console import Console

from benchmarks.fire import consistency, counting, deaths, stalls
from benchmarks.fire.profile import FULL, QUICK
from benchmarks.fire.report import Scenario

SCENARIOS: dict[str, Scenario] = {
    "counting": counting.measure,
    "consistency": consistency.measure,
    "deaths": deaths.measure,
    "observer": stalls.stop_observer,
    "stdout": stalls.block_stdout,
}


def main() -> int:
    """Runs the scenarios that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := sorted(set(given.scenarios) - set(SCENARIOS)):
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    console = Console(highlight=False)
    is_broken = False
    for name, measure in SCENARIOS.items():
        if not given.scenarios or name in given.scenarios:
            report = measure(QUICK if given.quick else FULL, console, given.seed)
            report.show(console)
            is_broken |= bool(report.broken)
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
