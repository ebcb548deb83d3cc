"""A simulation against a real service: what it sends is answered, and what it tells is what came back."""

import asyncio
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from sightline_service.demo.scenarios import Scenario, draw_flights
from sightline_service.demo.simulate import simulate
from sightline_service.demo.simulation import Simulation, SimulationError
from sightline_service.demo.stream import FlightStream
from tests.service.running import Running, running


@pytest.fixture(scope="module")
def served(flights_bundle: Path) -> Iterator[Running]:
    """The demo's model over real HTTP."""
    with running(flights_bundle) as service:
        yield service


def _run(served: Running, scenario: Scenario, duration_s: float, training: pd.DataFrame) -> Simulation:
    simulation = Simulation(f"http://127.0.0.1:{served.port}", scenario, rate=40)
    asyncio.run(simulation.run(FlightStream(training), duration_s))
    return simulation


def _rows(served: Running, model: str) -> int:
    samples = served.samples("ml_predictions_total").items()
    return int(sum(value for labels, value in samples if ("model_name", model) in labels))


def test_what_it_tells_is_what_was_counted(served: Running, training: pd.DataFrame) -> None:
    """Rows and requests of the tally equal the service's own counts, at about the rate that was asked for."""
    before = _rows(served, "flights")
    tally = _run(served, Scenario.NORMAL, 2, training).tally
    assert _rows(served, "flights") - before == tally.outcomes.total()
    assert set(tally.statuses) == {"200"}
    assert 60 <= tally.statuses.total() <= 81
    assert tally.last_failed is None


def test_labels_follow(served: Running, training: pd.DataFrame) -> None:
    """Some labels come within seconds; those that are accepted are in the service's confusion matrix."""
    before = sum(served.samples("ml_feedback_total").values())
    answered = _run(served, Scenario.NORMAL, 3, training).arrivals.answered
    assert answered["accepted"] > 20
    assert sum(served.samples("ml_feedback_total").values()) - before == answered["accepted"]


def test_errors_fail_one_request_in_ten(served: Running, training: pd.DataFrame) -> None:
    """Half of the fifth that goes to the dummy model fails, each with a trace that is kept."""
    tally = _run(served, Scenario.ERRORS, 3, training).tally
    assert set(tally.statuses) == {"200", "500"}
    assert 2 <= tally.statuses["500"] <= 30
    trace = served.client.get(f"/traces/{tally.last_failed}").raise_for_status().json()
    assert "/predict/random" in json.dumps(trace)


def test_slow_requests_hold_nobody_up(served: Running, training: pd.DataFrame) -> None:
    """Requests that wait for a second do not lower the rate, and the slowest one's trace is kept."""
    tally = _run(served, Scenario.SLOW, 3, training).tally
    assert tally.statuses.total() >= 90
    assert tally.slowest is not None
    duration_s, trace_id = tally.slowest
    assert duration_s > 1
    assert served.client.get(f"/traces/{trace_id}").status_code == 200


def test_a_service_that_is_not_there_is_told_as_such(training: pd.DataFrame) -> None:
    """Requests without an answer are counted as that, and nothing is raised."""
    simulation = Simulation("http://127.0.0.1:1", Scenario.NORMAL, rate=40)
    asyncio.run(simulation.run(FlightStream(training), 0.5))
    assert set(simulation.tally.statuses) == {"no answer"}
    assert not simulation.tally.durations_s


def test_summary_tells_rows_and_statuses(served: Running) -> None:
    """The command's own function prints a line now and then and the summary, and is true."""
    printed = StringIO()
    url = f"http://127.0.0.1:{served.port}"
    assert simulate(url, Scenario.NORMAL, 20, 1, Console(file=printed, width=120))
    assert "scenario normal: 20 requests a second" in printed.getvalue()
    assert "requests: 200" in printed.getvalue()
    assert "rows: in_time" in printed.getvalue()


def test_another_model_is_refused(small_bundle: Path) -> None:
    """A service that takes no flights is told apart before anything is sent."""
    with running(small_bundle) as service, pytest.raises(SimulationError, match="takes age, income, city, plan"):
        Simulation(f"http://127.0.0.1:{service.port}", Scenario.NORMAL, 20).prepare()


def test_slow_needs_the_dummy_model(flights_bundle: Path) -> None:
    """Without /predict/random the scenarios that call it say which setting is missing."""
    with (
        running(flights_bundle, random_endpoint=False) as service,
        pytest.raises(SimulationError, match="SIGHTLINE_RANDOM_ENDPOINT=true"),
    ):
        Simulation(f"http://127.0.0.1:{service.port}", Scenario.SLOW, 20).prepare()


def test_nobody_there_is_said() -> None:
    """Where nothing answers, the address is named."""
    with pytest.raises(SimulationError, match=r"nothing answers at http://127\.0\.0\.1:1 "):
        Simulation("http://127.0.0.1:1", Scenario.NORMAL, 20).prepare()


def test_draws_are_the_same_each_time(training: pd.DataFrame) -> None:
    """One seed gives one sequence of flights."""
    first, second = (draw_flights(training, Scenario.DRIFT, np.random.default_rng(1)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
