"""Tests that columns of any dtype are counted, and that data that does not fit a profile is rejected with a reason."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sightline_telemetry.instruments import MISSING, OTHER, UNSEEN
from sightline_telemetry.model.dataframes import FrameReader, profile_feature, profile_frame
from sightline_telemetry.model.profile import MAX_CATEGORIES, CategoricalFeature, ReferenceProfile, profile_categorical
from sightline_telemetry.model.rows import Rows


def read(profile: ReferenceProfile, data: Any, predicted: Any, probabilities: Any = None) -> Rows:
    """Data and predictions as they are counted."""
    reader = FrameReader(profile)
    return reader.rows(reader.table(data), predicted, probabilities)


def cities_of(rows: Rows, feature: CategoricalFeature) -> list[str]:
    """The labels that the codes of the only categorical feature stand for."""
    return [feature.series_values[code] for code in rows.codes[0]]


@pytest.mark.parametrize("dtype", ["str", object, "category"])
def test_categories_of_any_dtype(profile: ReferenceProfile, dtype: object) -> None:
    """Strings, objects and pandas' categories are read alike: None and NaN are missing, unknown values unseen."""
    cities = pd.Series(["Rome", "Paris", None, "Bern", np.nan, "Bern", ""], dtype=dtype)  # type: ignore[call-overload]
    data = pd.DataFrame({"city": cities, "gain": 1.0, "age": np.arange(7), "no feature": 0})
    rows = read(profile, data, ["yes"] * 7, np.full((7, 2), 0.5))
    assert cities_of(rows, profile.categorical[0]) == ["Rome", UNSEEN, MISSING, "Bern", MISSING, "Bern", UNSEEN]


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "Int64", "int64", "bool", object])
def test_numbers_of_any_dtype(profile: ReferenceProfile, dtype: str) -> None:
    """Numbers come out as float64, missing ones as NaN, whatever stands for missing in their dtype."""
    is_whole = dtype in ("int64", "bool")
    ages = pd.Series([1, 0, 1] if is_whole else [1, None, 1], dtype=dtype)
    data = pd.DataFrame({"age": ages, "gain": [0.0, 0.0, 0.0], "city": "Bern"})
    rows = read(profile, data, ["yes"] * 3)
    np.testing.assert_array_equal(rows.numeric[0], [1, 0 if is_whole else np.nan, 1])


def test_categories_that_are_integers(profile: ReferenceProfile) -> None:
    """Integers are found among integer categories also where a missing one made floats of them."""
    feature = replace(profile_categorical("city", ["7", "7", "12"]), dtype="int64")
    known = replace(profile, categorical=(feature,))
    data = pd.DataFrame({"age": 0.0, "gain": 0.0, "city": [12, 7, None, 8]})
    assert cities_of(read(known, data, ["no"] * 4), feature) == ["12", "7", MISSING, UNSEEN]


def test_rare_categories_are_counted_together(profile: ReferenceProfile) -> None:
    """A category beyond the most frequent is the others' label."""
    words = [f"c{i}" for i in range(MAX_CATEGORIES) for _ in range(2)] + ["rare"]
    feature = profile_categorical("city", words)
    data = pd.DataFrame({"age": 0.0, "gain": 0.0, "city": ["rare", "c0", "new"]})
    rows = read(replace(profile, categorical=(feature,)), data, ["no"] * 3)
    assert cities_of(rows, feature) == [OTHER, "c0", UNSEEN]


def test_what_does_not_fit_is_refused(profile: ReferenceProfile) -> None:
    """Unknown outcomes, probabilities of another shape, too few predictions and absent columns are refused."""
    data = pd.DataFrame({"age": [0.0, 1.0], "gain": 0.0, "city": "Bern"})
    with pytest.raises(ValueError, match="predicted 'perhaps', and its profile knows no, yes"):
        read(profile, data, ["yes", "perhaps"])
    with pytest.raises(ValueError, match=r"probabilities are \(2, 3\), not \(2, 2\)"):
        read(profile, data, ["yes", "no"], np.full((2, 3), 0.3))
    with pytest.raises(ValueError, match="2 rows and 1 predictions"):
        read(profile, data, ["yes"])
    with pytest.raises(ValueError, match="lacks the columns 'city'; it has 'age', 'gain'"):
        read(profile, data.drop(columns="city"), ["yes", "no"])


def test_a_frame_of_no_rows(profile: ReferenceProfile) -> None:
    """No rows are no rows, and no error."""
    data = pd.DataFrame({"age": pd.Series(dtype=float), "gain": pd.Series(dtype=float), "city": pd.Series(dtype=str)})
    assert len(read(profile, data, [], np.empty((0, 2)))) == 0


def test_the_profile_of_a_regression() -> None:
    """Float predictions without probabilities are a regression, profiled with its values and its labels."""
    values = np.arange(100.0)
    profile = profile_frame(pd.DataFrame({"x": values}), values + 1, values)
    assert (profile.task, profile.outcomes, profile.n_rows) == ("regression", (), 100)
    assert profile.predicted_values is not None
    assert profile.label_values is not None
    assert (profile.predicted_values.sum, profile.label_values.sum) == (4950, 5050)
    rows = read(profile, pd.DataFrame({"x": [1.0]}), [3])
    assert (rows.outcomes, rows.probabilities) == (None, None)
    np.testing.assert_array_equal(rows.values, [3.0])


@pytest.mark.parametrize(
    ("column", "word"),
    [
        (["41", "old"], "'old'"),
        ([1.0, {"years": 41}], "{'years': 41}"),
        (pd.Series(["41", "old"]), "'old'"),
        (pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"])).astype(object), "Timestamp"),
    ],
)
def test_a_word_among_numbers_is_named(profile: ReferenceProfile, column: Any, word: str) -> None:
    """A value that is not a number is in the error, with the feature and what to do about it."""
    with pytest.raises(ValueError, match=r"the feature 'age' has the value .* convert the column") as raised:
        read(profile, {"age": column, "gain": [0.0, 0.0], "city": ["Bern", "Bern"]}, ["no", "no"])
    assert word in str(raised.value)


def test_a_list_among_categories_is_refused(profile: ReferenceProfile) -> None:
    """Values that cannot be categories are refused with the feature's name."""
    with pytest.raises(ValueError, match=r"'city' has values that cannot be categories .*convert"):
        read(profile, [{"age": 1, "gain": 0, "city": ["Bern"]}], ["no"])


@pytest.mark.parametrize(
    ("values", "of_type"),
    [
        (pd.Series([1, 2, 1]), ("numeric", "int64")),
        (pd.Series([1, None, 2], dtype="Int64"), ("numeric", "int64")),
        (pd.Series([1.5, None, 2], dtype="float32"), ("numeric", "float32")),
        (pd.Series([True, None, False], dtype=object), ("numeric", "bool")),
        (pd.Series([1, None, 2.5], dtype=object), ("numeric", "float64")),
        (pd.Series([None, None, None], dtype=object), ("numeric", "float64")),
        pytest.param(
            pd.Series([None, None, None], dtype="str"),
            ("categorical", "str"),
            marks=pytest.mark.skipif(pd.Series(["a"]).dtype == object, reason="this pandas keeps strings as objects"),
        ),
        (pd.Series(["a", None, "b"]), ("categorical", "str")),
        (pd.Series([7, None, 8]).astype("category"), ("categorical", "float64")),
        (pd.Series([7, 7, 8]).astype("category"), ("categorical", "int64")),
        (np.array([True, False, True]), ("numeric", "bool")),
    ],
)
def test_a_column_is_profiled_by_what_it_holds(values: Any, of_type: tuple[str, str]) -> None:
    """Strings and pandas' categories are categories; numbers and booleans are numbers, in objects too."""
    feature = profile_feature("x", values)
    assert ("categorical" if isinstance(feature, CategoricalFeature) else "numeric", feature.dtype) == of_type


def test_a_profile_counts_categories_that_are_numbers() -> None:
    """Categories of a pandas column of dtype `category` keep their type, so that the same values are found again."""
    data = pd.DataFrame({"zone": pd.Categorical([7, 8, 7])})
    profile = profile_frame(data, [0, 1, 0], [0, 1, 1])
    rows = read(profile, {"zone": [8, 7, 9, None]}, [0, 0, 1, 1])
    assert cities_of(rows, profile.categorical[0]) == ["8", "7", UNSEEN, MISSING]


def test_columns_that_no_profile_can_hold_are_refused() -> None:
    """Dates and mixtures of types, labels that are missing or unknown, and lengths that differ are refused."""
    with pytest.raises(ValueError, match=r"column 'x' holds Timestamp.*turn its values into numbers"):
        profile_frame(pd.DataFrame({"x": pd.to_datetime(["2026-01-01"])}), [1], [1])
    with pytest.raises(ValueError, match=r"'x' holds values of several types \(int64, str\)"):
        profile_frame({"x": [1, "a"]}, [0, 1], [0, 1])
    with pytest.raises(ValueError, match="1 labels are missing; leave these rows out"):
        profile_frame({"x": [1, 2]}, ["a", None], ["a", "a"])
    with pytest.raises(ValueError, match="'c' is none of the classes a, b"):
        profile_frame({"x": [1, 2]}, ["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match="2 rows, 1 labels and 2 predictions"):
        profile_frame({"x": [1, 2]}, ["a"], ["a", "b"])
