"""Scenarios: flights drawn from the training data, changed in one way each."""

import numpy as np
import pandas as pd
import pytest

from sightline_service.demo.flights import FEATURES
from sightline_service.demo.scenarios import DRIFTED, LOST, Scenario, draw_flights


def _draw(training: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    return draw_flights(training, scenario, np.random.default_rng(5))


@pytest.mark.parametrize("scenario", Scenario)
def test_every_value_is_one_of_training(training: pd.DataFrame, scenario: Scenario) -> None:
    """A scenario has as many rows as training, and every value of a column is one of the training data."""
    drawn = _draw(training, scenario)
    assert len(drawn) == len(training)
    for name in FEATURES:
        assert set(drawn[name].dropna()) <= set(training[name].dropna())


@pytest.mark.parametrize("scenario", Scenario)
def test_a_scenario_changes_one_column_at_most(training: pd.DataFrame, scenario: Scenario) -> None:
    """Compared with the same draw of `normal`, only the scenario's own column differs."""
    normal, drawn = _draw(training, Scenario.NORMAL), _draw(training, scenario)
    changed = {name for name in FEATURES if not drawn[name].equals(normal[name])}
    assert changed == {Scenario.DRIFT: {DRIFTED}, Scenario.MISSING: {LOST}}.get(scenario, set())


def test_drift_is_of_the_warmer_half(training: pd.DataFrame) -> None:
    """Every temperature lies above training's median, and none is missing."""
    assert _draw(training, Scenario.DRIFT)[DRIFTED].min() > training[DRIFTED].median()


def test_half_of_the_sensor_is_missing(training: pd.DataFrame) -> None:
    """Half of the values are lost, on top of those that training lacks."""
    share = _draw(training, Scenario.MISSING)[LOST].isna().mean()
    assert share == pytest.approx(0.5 + training[LOST].isna().mean() / 2, abs=0.01)


def test_a_draw_repeats_rows_of_training(training: pd.DataFrame) -> None:
    """A draw with replacement has whole rows of the training data, some of them several times."""
    drawn = _draw(training, Scenario.NORMAL)
    rows, drawn_rows = (set(frame[list(FEATURES)].itertuples(index=False, name=None)) for frame in (training, drawn))
    known = {row for row in drawn_rows if not pd.isna(list(row)).any()}
    assert known
    assert known <= rows
    assert len(drawn["scheduled"].unique()) < len(training["scheduled"].unique())
