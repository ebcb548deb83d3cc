"""What was normal from window to window, against the formulas computed row by row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.drift_floors import RowTimes, drift_floors
from sightline_service.bundles.profiling import make_bundle
from sightline_telemetry.model.dataframes import profile_feature
from sightline_telemetry.model.profile import ReferenceProfile, profile_outcomes
from tests.service.running import running

N_DAYS, PER_DAY = 20, 600
HOUR_S = 3600


@pytest.fixture(scope="module", name="data")
def _data() -> pd.DataFrame:
    """20 days in no order: `x` wanders from day to day, `y` does not, `c` is another on each weekday."""
    random = np.random.default_rng(4)
    day = np.repeat(np.arange(N_DAYS), PER_DAY)
    data = pd.DataFrame(
        {
            "x": random.normal(np.sin(day), 1),
            "y": random.normal(0, 1, len(day)),
            "c": np.array(list("mtwtfss"))[day % 7],
            "when": pd.Timestamp("2025-03-01", tz="UTC")
            + pd.to_timedelta(day * 24 * HOUR_S + np.tile(np.arange(PER_DAY) * 144, N_DAYS), unit="s"),
        }
    )
    data.loc[::50, "y"] = np.nan
    return data.sample(frac=1, random_state=0, ignore_index=True)


@pytest.fixture(name="profile")
def _profile(data: pd.DataFrame) -> ReferenceProfile:
    features = [profile_feature(name, data[name]) for name in "xyc"]
    codes = np.arange(len(data)) % 2
    outcomes = profile_outcomes(("a", "b"), codes, codes, None)
    return ReferenceProfile(order=("x", "y", "c"), numeric=features[:2], categorical=features[2:], **outcomes)  # type: ignore[arg-type]


def test_floors_are_a_tenth_above_what_windows_stay_below(data: pd.DataFrame, profile: ReferenceProfile) -> None:
    """KS, PSI and shares of each whole day against all days: 1.1 times the 99th percentile."""
    floors = drift_floors(profile, data, RowTimes(data["when"], 24 * HOUR_S))
    assert floors is not None
    assert (floors.window_s, floors.n_windows) == (24 * HOUR_S, N_DAYS - 1)
    days = [day for _, day in data.groupby(data["when"].dt.date)][:-1]
    for name in "xy":
        edges = [-np.inf, *next(f.bounds for f in profile.numeric if f.name == name), np.inf]
        reference = pd.cut(data[name], edges).value_counts(sort=False)
        ks: list[float] = []
        psi: list[float] = []
        for day in days:
            window = pd.cut(day[name], edges).value_counts(sort=False)
            ks.append((window.cumsum() / window.sum() - reference.cumsum() / reference.sum()).abs().max())
            p = (window + 0.5) / (window.sum() + 0.5 * len(window))
            q = (reference + 0.5) / (reference.sum() + 0.5 * len(reference))
            psi.append(((p - q) * np.log(p / q)).sum())
        assert floors.features[name]["ks"] == pytest.approx(1.1 * np.quantile(ks, 0.99))
        assert floors.features[name]["psi"] == pytest.approx(1.1 * np.quantile(psi, 0.99))
    share = [
        (
            day["c"].value_counts(normalize=True).reindex(list("mtwfs"), fill_value=0)
            - data["c"].value_counts(normalize=True)
        )
        .abs()
        .max()
        for day in days
    ]
    assert floors.features["c"] == {"share": pytest.approx(1.1 * np.quantile(share, 0.99))}
    assert floors.features["x"]["ks"] > 3 * floors.features["y"]["ks"]


def test_the_length_of_a_window_matters(data: pd.DataFrame, profile: ReferenceProfile) -> None:
    """Longer windows even more out: their floors are lower."""
    day, twelve = (drift_floors(profile, data, RowTimes(data["when"], hours * HOUR_S)) for hours in (24, 12))
    assert day is not None
    assert twelve is not None
    assert twelve.n_windows == 2 * N_DAYS - 1
    assert day.features["y"]["psi"] < twelve.features["y"]["psi"]


@pytest.mark.parametrize("hours", [1, 240], ids=["too few rows in a window", "too few windows"])
def test_too_little_data_has_no_floors(data: pd.DataFrame, profile: ReferenceProfile, hours: int) -> None:
    """Where windows are blind, or a handful, there is no floor rather than a guess."""
    assert drift_floors(profile, data, RowTimes(data["when"], hours * HOUR_S)) is None


def test_floors_reach_the_metrics(data: pd.DataFrame, tmp_path: Path) -> None:
    """A served bundle shows its floors on /metrics, by feature, statistic and window."""
    features = data[["x"]]
    model = LogisticRegression().fit(features, data["c"] == "s")
    bundle = make_bundle(model, features, data["c"] == "s", "m", "1", RowTimes(data["when"], 24 * HOUR_S))
    save_bundle(bundle, tmp_path / "bundle")
    with running(tmp_path / "bundle", random_endpoint=False) as service:
        samples = service.samples("ml_reference_drift_floor")
    shown = {tuple(dict(key)[label] for label in ("feature", "statistic", "window")): v for key, v in samples.items()}
    assert bundle.profile.floors is not None
    floors = bundle.profile.floors.features["x"]
    assert shown == {("x", name, "86400s"): pytest.approx(floors[name]) for name in ("ks", "psi")}
