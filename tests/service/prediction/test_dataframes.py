"""Columns become the DataFrame that training had: names, order, types, and what a client really sent."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sightline_service.bundles.verification import sample_columns
from sightline_service.prediction.columns import Columns
from sightline_service.prediction.dataframes import FrameBuilder
from sightline_telemetry.model.dataframes import profile_feature
from sightline_telemetry.model.profile import CategoricalFeature, NumericFeature, ReferenceProfile, profile_values

TRAINING = pd.DataFrame(
    {
        "word": ["b", "a", np.nan],
        "count": [1, 2, 3],
        "price": [1.5, np.nan, 2.5],
        "flag": [True, False, True],
        "single": np.array([0.1, 0.2, 0.3], dtype=np.float32),
        "level": pd.Categorical(["lo", "hi", "lo"], categories=["lo", "mid", "hi"]),
        "code": [10, 20, 10],
    }
)


@pytest.fixture(name="profile")
def _profile() -> ReferenceProfile:
    known = {"code": ("10", "20")}
    features = [profile_feature(str(name), TRAINING[name], known=known.get(str(name))) for name in TRAINING]
    return ReferenceProfile(
        order=tuple(TRAINING.columns),
        numeric=tuple(feature for feature in features if isinstance(feature, NumericFeature)),
        categorical=tuple(feature for feature in features if isinstance(feature, CategoricalFeature)),
        **profile_values(np.arange(3.0), np.arange(3.0)),
    )


def columns(profile: ReferenceProfile, **values: list[Any]) -> Columns:
    """Rows as they come from a client."""
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return sample_columns(tuple(rows), profile)


def sent(**changes: list[Any]) -> dict[str, list[Any]]:
    """Two rows that training had, with some columns changed."""
    rows = TRAINING.head(2).astype(object)
    return {str(name): [None if pd.isna(v) else v for v in rows[name]] for name in rows} | changes


def test_rows_of_training_come_back_as_they_were(profile: ReferenceProfile) -> None:
    """Names, order, values and types are those of the training data."""
    frame = FrameBuilder(profile).build(columns(profile, **sent()))
    pd.testing.assert_frame_equal(frame, TRAINING.head(2), check_exact=True)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("count", [1, None], np.array([1.0, np.nan])),
        ("count", [1, 2.5], np.array([1.0, 2.5])),
        ("flag", [True, None], np.array([1.0, np.nan])),
        ("flag", [1, 0], np.array([True, False])),
        ("code", [10, None], np.array([10.0, np.nan])),
        ("code", [10, 30], np.array([10, 30])),
        ("level", ["hi", None], pd.Categorical(["hi", None], categories=["lo", "mid", "hi"])),
        ("level", ["hi", "new"], pd.Categorical(["hi", "new"], categories=["lo", "mid", "hi", "new"])),
        ("word", ["new", None], pd.Series(["new", np.nan])),
    ],
)
def test_what_training_did_not_have_arrives(
    profile: ReferenceProfile, name: str, values: list[Any], expected: Any
) -> None:
    """Missing integers make floats, and an unknown category is in the frame as it was sent."""
    frame = FrameBuilder(profile).build(columns(profile, **sent(**{name: values})))
    pd.testing.assert_series_equal(frame[name], pd.Series(expected, name=name))


def test_a_step_that_writes_into_the_frame_changes_no_count(profile: ReferenceProfile) -> None:
    """The frame shares no memory with the columns that are counted."""
    built = columns(profile, **sent())
    before = built.arrays.numeric.copy()
    frame = FrameBuilder(profile).build(built)
    frame.iloc[:, 1:3] = 0
    frame.iloc[:, 3] = False
    frame.iloc[:, 4] = 0
    np.testing.assert_array_equal(built.arrays.numeric, before)
