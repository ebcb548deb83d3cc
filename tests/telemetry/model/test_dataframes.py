"""DataFrames of any dtype become what a recorder counts; a profile of them is the one that a bundle has."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from sightline_service.bundles.profiling import profile_training
from sightline_telemetry.instruments import MISSING, OTHER, UNSEEN
from sightline_telemetry.model.dataframes import FrameReader, profile_frame
from sightline_telemetry.model.profile import MAX_CATEGORIES, CategoricalFeature, ReferenceProfile, profile_categorical
from sightline_telemetry.model.recorder import Rows


def cities_of(rows: Rows, feature: CategoricalFeature) -> list[str]:
    """The labels that the codes of the only categorical feature stand for."""
    return [feature.labels[code] for code in rows.codes[0]]


@pytest.mark.parametrize("dtype", ["str", object, "category"])
def test_categories_of_any_dtype(profile: ReferenceProfile, dtype: object) -> None:
    """Strings, objects and pandas' categories are read alike; None and NaN are missing, strangers unseen."""
    cities = pd.Series(["Rome", "Paris", None, "Bern", np.nan, "Bern", ""], dtype=dtype)  # type: ignore[call-overload]
    data = pd.DataFrame({"city": cities, "gain": 1.0, "age": np.arange(7), "no feature": 0})
    rows = FrameReader(profile).rows(data, ["yes"] * 7, np.full((7, 2), 0.5))
    assert cities_of(rows, profile.categorical[0]) == ["Rome", UNSEEN, MISSING, "Bern", MISSING, "Bern", UNSEEN]


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "Int64", "int64", "bool", object])
def test_numbers_of_any_dtype(profile: ReferenceProfile, dtype: str) -> None:
    """Numbers come out as float64, missing ones as NaN, whatever stands for missing in their dtype."""
    is_whole = dtype in ("int64", "bool")
    ages = pd.Series([1, 0, 1] if is_whole else [1, None, 1], dtype=dtype)
    data = pd.DataFrame({"age": ages, "gain": [0.0, 0.0, 0.0], "city": "Bern"})
    rows = FrameReader(profile).rows(data, ["yes"] * 3)
    np.testing.assert_array_equal(rows.numeric[0], [1, 0 if is_whole else np.nan, 1])


def test_categories_that_are_integers(profile: ReferenceProfile) -> None:
    """Integers are found among integer categories also where a missing one made floats of them."""
    feature = replace(profile_categorical("city", ["7", "7", "12"]), dtype="int64")
    reader = FrameReader(replace(profile, categorical=(feature,)))
    data = pd.DataFrame({"age": 0.0, "gain": 0.0, "city": [12, 7, None, 8]})
    assert cities_of(reader.rows(data, ["no"] * 4), feature) == ["12", "7", MISSING, UNSEEN]


def test_rare_categories_are_counted_together(profile: ReferenceProfile) -> None:
    """A category beyond the most frequent is the others' label."""
    words = [f"c{i}" for i in range(MAX_CATEGORIES) for _ in range(2)] + ["rare"]
    feature = profile_categorical("city", words)
    data = pd.DataFrame({"age": 0.0, "gain": 0.0, "city": ["rare", "c0", "new"]})
    rows = FrameReader(replace(profile, categorical=(feature,))).rows(data, ["no"] * 3)
    assert cities_of(rows, feature) == [OTHER, "c0", UNSEEN]


def test_what_does_not_fit_is_refused(profile: ReferenceProfile) -> None:
    """An outcome that nobody knows, probabilities of another shape, too few predictions, a column that is not there."""
    reader = FrameReader(profile)
    data = pd.DataFrame({"age": [0.0, 1.0], "gain": 0.0, "city": "Bern"})
    with pytest.raises(ValueError, match="predicted 'perhaps', and its profile knows no, yes"):
        reader.rows(data, ["yes", "perhaps"])
    with pytest.raises(ValueError, match=r"probabilities are \(2, 3\), not \(2, 2\)"):
        reader.rows(data, ["yes", "no"], np.full((2, 3), 0.3))
    with pytest.raises(ValueError, match="2 rows and 1 predictions"):
        reader.rows(data, ["yes"])
    with pytest.raises(KeyError, match="city"):
        reader.rows(data.drop(columns="city"), ["yes", "no"])


def test_a_frame_of_no_rows(profile: ReferenceProfile) -> None:
    """No rows are no rows, and no error."""
    data = pd.DataFrame({"age": pd.Series(dtype=float), "gain": pd.Series(dtype=float), "city": pd.Series(dtype=str)})
    assert len(FrameReader(profile).rows(data, [], np.empty((0, 2)))) == 0


def test_the_profile_is_the_bundles_own(
    small_model: Pipeline, small_data: tuple[pd.DataFrame, "pd.Series[str]"]
) -> None:
    """A profile made of a frame and its predictions equals the one that a bundle is made with."""
    data, labels = small_data
    made = profile_frame(
        data,
        labels,
        small_model.predict(data),
        small_model.predict_proba(data),
        imputed_by={"age": "mean", "income": "mean", "city": "constant"},
    )
    bundled = profile_training(small_model, data, labels)
    assert made.numeric == bundled.numeric
    assert (made.predicted, made.labels, made.scores) == (bundled.predicted, bundled.labels, bundled.scores)
    for ours, theirs in zip(made.categorical, bundled.categorical, strict=True):
        assert (ours.labels, ours.label_counts, ours.singletons) == (
            theirs.labels,
            theirs.label_counts,
            theirs.singletons,
        )


def test_the_profile_of_a_regression() -> None:
    """Float predictions without probabilities are a regression, profiled with its values and its labels."""
    values = np.arange(100.0)
    profile = profile_frame(pd.DataFrame({"x": values}), values + 1, values)
    assert (profile.task, profile.outcomes, profile.n_rows) == ("regression", (), 100)
    assert profile.predicted_values is not None
    assert profile.label_values is not None
    assert (profile.predicted_values.sum, profile.label_values.sum) == (4950, 5050)
    rows = FrameReader(profile).rows(pd.DataFrame({"x": [1.0]}), [3])
    assert (rows.outcomes, rows.probabilities) == (None, None)
    np.testing.assert_array_equal(rows.values, [3.0])
