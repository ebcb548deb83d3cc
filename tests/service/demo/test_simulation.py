"""Scenarios against a real service: requests are answered, and the tally is what the service counted."""

import asyncio
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from time import perf_counter

import httpx2 as httpx
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from sightline_service.demo.scenarios import Scenario, draw_flights
from sightline_service.demo.simulate import SimulationError, check_service, scenario_mix, simulate
from sightline_service.demo.stream import FlightStream
from sightline_service.demo.traffic import Mix, Tally, Traffic
from tests.service.running import Running, running


@pytest.fixture(scope="module")
def served(flights_bundle: Path) -> Iterator[Running]:
    """Serves the demo's model over real HTTP."""
    with running(flights_bundle) as service:
        yield service


class TimedTally(Tally):
    """A tally that keeps when each request began and ended."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[float, float]] = []

    def add(self, model: str, response: httpx.Response, duration_s: float) -> None:
        """Counts one answer, which has just come."""
        super().add(model, response, duration_s)
        end_s = perf_counter()
        self.spans.append((end_s - duration_s, end_s))


def _run(
    served: Running, scenario: Scenario, duration_s: float, training: pd.DataFrame, tally: Tally | None = None
) -> Traffic:
    traffic = Traffic(f"http://127.0.0.1:{served.port}", FlightStream(training), scenario_mix(scenario, 40))
    traffic.tally = tally or traffic.tally
    asyncio.run(traffic.run(duration_s))
    return traffic


def _rows(served: Running, model: str) -> int:
    samples = served.samples("ml_predictions_total").items()
    return int(sum(value for labels, value in samples if ("model_name", model) in labels))


def test_the_tally_is_what_was_counted(served: Running, training: pd.DataFrame) -> None:
    """Rows of the tally equal the service's own counts, and no more requests are sent than the rate allows."""
    before = _rows(served, "flights")
    tally = _run(served, Scenario.NORMAL, 2, training).tally
    assert _rows(served, "flights") - before == tally.received.total()
    assert set(tally.statuses) == {"200"}
    assert 1 <= tally.statuses.total() <= 2 * 40 + 1
    assert tally.last_failed is None


def test_labels_follow(served: Running, training: pd.DataFrame) -> None:
    """Some labels are sent within seconds; those that are accepted are in the service's confusion matrix."""
    before = sum(served.samples("ml_feedback_total").values())
    answered = _run(served, Scenario.NORMAL, 3, training).arrivals.answered
    assert answered["accepted"] >= 1
    assert sum(served.samples("ml_feedback_total").values()) - before == answered["accepted"]


def test_errors_fail_one_request_in_ten(served: Running, training: pd.DataFrame) -> None:
    """Half of the fifth that goes to the dummy model fails, each with a trace that is kept."""
    tally = _run(served, Scenario.ERRORS, 3, training).tally
    assert set(tally.statuses) == {"200", "500"}
    assert 1 <= tally.statuses["500"] <= 30
    trace = served.client.get(f"/traces/{tally.last_failed}").raise_for_status().json()
    assert "/predict/random" in json.dumps(trace)


def test_slow_requests_do_not_delay_others(served: Running, training: pd.DataFrame) -> None:
    """While the slowest request waits others begin and end, and its trace is kept."""
    tally = TimedTally()
    _run(served, Scenario.SLOW, 3, training, tally)
    start_s, end_s = max(tally.spans, key=lambda span: span[1] - span[0])
    assert sum(start_s < start and end < end_s for start, end in tally.spans) >= 5
    assert tally.slowest is not None
    _, trace_id = tally.slowest
    assert served.client.get(f"/traces/{trace_id}").status_code == 200


def test_requests_without_an_answer_are_counted(training: pd.DataFrame) -> None:
    """Requests without an answer are counted as such, and no error is raised."""
    traffic = Traffic("http://127.0.0.1:1", FlightStream(training), Mix(flights_per_s=40))
    asyncio.run(traffic.run(0.5))
    assert set(traffic.tally.statuses) == {"no answer"}
    assert not traffic.tally.durations_s


def test_the_summary_has_rows_and_statuses(served: Running) -> None:
    """The command's own function prints the scenario and a summary of the answers, and returns True."""
    printed = StringIO()
    url = f"http://127.0.0.1:{served.port}"
    assert simulate(url, Scenario.NORMAL, 20, 1, Console(file=printed, width=120))
    assert "scenario normal: 20 requests per second" in printed.getvalue()
    assert "requests: 200" in printed.getvalue()
    assert "rows: flights: in_time" in printed.getvalue()


def test_another_model_is_refused(small_bundle: Path) -> None:
    """A service whose model takes no flights is refused before anything is sent."""
    with running(small_bundle) as service, pytest.raises(SimulationError, match="takes age, income, city, plan"):
        check_service(f"http://127.0.0.1:{service.port}", Scenario.NORMAL)


def test_slow_needs_the_dummy_model(flights_bundle: Path) -> None:
    """Without /predict/random the scenarios that need it name the setting that is missing."""
    with (
        running(flights_bundle, random_endpoint=False) as service,
        pytest.raises(SimulationError, match="SIGHTLINE_RANDOM_ENDPOINT=true"),
    ):
        check_service(f"http://127.0.0.1:{service.port}", Scenario.SLOW)


def test_an_address_without_a_service_is_named() -> None:
    """If nothing answers, the error names the address."""
    with pytest.raises(SimulationError, match=r"nothing answers at http://127\.0\.0\.1:1 "):
        check_service("http://127.0.0.1:1", Scenario.NORMAL)


def test_draws_are_the_same_each_time(training: pd.DataFrame) -> None:
    """One seed gives one sequence of flights."""
    first, second = (draw_flights(training, Scenario.DRIFT, np.random.default_rng(1)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
