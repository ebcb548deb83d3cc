"""The service under fire, in small: every promise that `python -m benchmarks.fire` checks is kept."""

import pytest
from rich.console import Console

from benchmarks.fire import consistency, counting, deaths, stalls
from benchmarks.fire.profile import QUICK
from benchmarks.fire.report import Report, Scenario

pytestmark = [pytest.mark.slow, pytest.mark.stack]
CONSOLE = Console(quiet=True)


def _column(report: Report, name: str) -> list[str]:
    return [row[report.columns.index(name)] for row in report.rows]


def test_rows_are_counted_through_kills() -> None:
    """A scrape and Prometheus have the rows in all answers, and after kills under load only what was in flight more."""
    report = counting.measure(QUICK, CONSOLE, seed=3)
    assert report.broken == []
    assert _column(report, "scenario") == ["no kills", "kills with nothing in flight", "kills under load"]
    assert _column(report, "answered")[:2] == _column(report, "scrape")[:2] == _column(report, "Prometheus")[:2]
    assert _column(report, "received, not counted") == ["0", "0", "0"]


def test_each_scrape_is_one_moment() -> None:
    """Within a scrape under load, outcomes, scores and the counts of every feature have the same rows."""
    report = consistency.measure(QUICK, CONSOLE, seed=3)
    assert report.broken == []
    assert int(_column(report, "consistent")[0]) > 0
    assert _column(report, "rows at the end") == _column(report, "answered")


def test_a_deadly_request_is_traced_logged_and_counted() -> None:
    """A request that ends its worker leaves one trace, one line and one count; all others are answered."""
    report = deaths.measure(QUICK, CONSOLE, seed=3)
    assert report.broken == []
    assert _column(report, "its trace has") == _column(report, "died of") == ["SIGSEGV", "SIGKILL"]
    assert _column(report, "refused") == ["0", "0"]


@pytest.mark.parametrize("scenario", [stalls.stop_observer, stalls.block_stdout])
def test_what_stands_still_beside_the_workers_loses_no_count(scenario: Scenario) -> None:
    """With the observer stopped, or stdout blocked, every request is answered by 200 and counted."""
    report = scenario(QUICK, CONSOLE, 3)
    assert report.broken == []
    assert report.rows[-1][0] == "rows counted at the end"
