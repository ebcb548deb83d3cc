"""The same rows give the same counts in whatever form they come."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sightline_telemetry.instruments import (
    FEATURE_MISSING,
    FEATURE_VALUE,
    MISSING,
    PREDICTION_SCORE,
    PREDICTIONS,
    UNSEEN,
)
from sightline_telemetry.measurement import Measurement
from sightline_telemetry.model.dataframes import profile_frame
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.table import Table, read_table
from tests.telemetry.counted import counted_by

pytestmark = pytest.mark.usefixtures("no_otel_variables")

COLUMNS: dict[str, list[Any]] = {
    "age": [41.5, None, 38.0, None, 90.0, 41.5],
    "rooms": [3, 2, 1, 2, 9, 3],
    "smokes": [True, False, None, True, False, True],
    "city": ["Bern", "Rome", None, "Paris", "Bern", ""],
    "plan": ["a", "b", "a", "a", "c", "b"],
    "unused": [0, 0, 0, 0, 0, 0],
}
PREDICTED = ["no", "yes", "yes", "no", "no", "yes"]
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])


def dicts(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """One dict per row; a missing value is an absent key in every second row."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{k: v for k, v in row.items() if v is not None or n % 2} for n, row in enumerate(rows)]


def pandas_frame(columns: dict[str, list[Any]]) -> Any:
    """A DataFrame of pandas with pandas' own types."""
    return pytest.importorskip("pandas").DataFrame(columns)


def pandas_nullable(columns: dict[str, list[Any]]) -> Any:
    """The same with the nullable types, whose missing value is `pd.NA`."""
    return pandas_frame(columns).convert_dtypes()


def pandas_objects(columns: dict[str, list[Any]]) -> Any:
    """The same as objects, some of them `pd.NA` and NaN."""
    pandas = pytest.importorskip("pandas")
    frame = pandas_frame(columns).astype(object)
    return frame.where(frame.notna(), pandas.NA).assign(city=frame["city"].where(frame["city"].notna(), np.nan))


def pandas_categories(columns: dict[str, list[Any]]) -> Any:
    """The same with columns of categories."""
    return pandas_frame(columns).astype({"city": "category", "plan": "category"})


def polars_frame(columns: dict[str, list[Any]]) -> Any:
    """A DataFrame of polars."""
    return pytest.importorskip("polars").DataFrame(columns)


def polars_categories(columns: dict[str, list[Any]]) -> Any:
    """The same with columns of categories."""
    polars = pytest.importorskip("polars")
    return polars.DataFrame(columns).with_columns(polars.col("city", "plan").cast(polars.Categorical))


def arrow_table(columns: dict[str, list[Any]]) -> Any:
    """A table of Arrow."""
    return pytest.importorskip("pyarrow").table(columns)


def arrow_arrays(columns: dict[str, list[Any]]) -> Any:
    """A dict of Arrow's arrays."""
    return {name: pytest.importorskip("pyarrow").array(values) for name, values in columns.items()}


def arrays(columns: dict[str, list[Any]]) -> Any:
    """A dict of numpy arrays, NaN and None where a value is missing."""
    return {name: np.array(values, dtype=float if name == "age" else None) for name, values in columns.items()}


def structured_array(columns: dict[str, list[Any]]) -> Any:
    """A numpy array whose columns have names."""
    types = [(name, "f8" if name in ("age", "rooms") else "O") for name in columns]
    return np.array(list(zip(*columns.values(), strict=True)), dtype=types)


FORMS: list[Callable[[dict[str, list[Any]]], Any]] = [
    *(dict, dicts, arrays, structured_array, arrow_table, arrow_arrays),
    *(pandas_frame, pandas_nullable, pandas_objects, pandas_categories, polars_frame, polars_categories),
]


@pytest.fixture(scope="module")
def trained() -> ReferenceProfile:
    """The profile of rows of which `rooms` and `smokes` are numbers and `Paris` and "" are unknown cities."""
    data = {
        "plan": ["a", "b", "c", "a"],
        "age": [20.0, 40.0, None, 60.0],
        "city": ["Bern", "Rome", None, "Bern"],
        "smokes": [True, False, False, True],
        "rooms": [1, 2, 3, 4],
    }
    return profile_frame(data, ["no", "yes", "no", "yes"], ["no", "yes", "no", "yes"], np.full((4, 2), 0.5))


def counts_of(profile: ReferenceProfile, data: Any) -> dict[str, Any]:
    """All that a measurement counts of data and the predictions for them."""
    with Measurement("m", "1", profile) as measure:
        measure(data, PREDICTED, SCORES)
        counted = counted_by(measure)
        assert b'sightline_faults_total{place="measurement"} 0.0' in measure.scrape()[0]
    return {
        "categories": counted.categories(),
        "missing": counted.numbers(FEATURE_MISSING),
        "outside": counted.out_of_range(),
        "values": {name: (each.counts, each.sum) for name, each in counted.histograms(FEATURE_VALUE).items()},
        "predictions": counted.numbers(PREDICTIONS),
        "scores": {name: each.counts for name, each in counted.histograms(PREDICTION_SCORE).items()},
    }


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_counts_are_the_same_in_every_form(trained: ReferenceProfile, form: Callable[..., Any]) -> None:
    """Frames, tables, arrays, dicts and lists of the same rows give the same counts, by feature and by category."""
    found = counts_of(trained, form(COLUMNS))
    assert found["categories"] == {
        "city": {"Bern": 2, "Rome": 1, UNSEEN: 2, MISSING: 1},
        "plan": {"a": 3, "b": 2, "c": 1, UNSEEN: 0, MISSING: 0},
    }
    assert found["missing"] == {"age": 2, "smokes": 1, "rooms": 0, "plan": 0, "city": 1}
    assert found["outside"] == {"age": (0, 1), "rooms": (0, 1), "smokes": (0, 0)}
    assert {name: total for name, (_, total) in found["values"].items()} == {"age": 211.0, "rooms": 20.0, "smokes": 3.0}
    assert found == counts_of(trained, COLUMNS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_profile_is_the_same_in_every_form(form: Callable[..., Any]) -> None:
    """A profile has the same features, edges and counts in whatever form the training data come."""
    ours = profile_frame(form(COLUMNS), PREDICTED, PREDICTED, SCORES)
    plain = profile_frame(COLUMNS, PREDICTED, PREDICTED, SCORES)
    assert ours.order == plain.order
    assert [(f.name, f.bounds, f.counts, f.missing) for f in ours.numeric] == [
        (f.name, f.bounds, f.counts, f.missing) for f in plain.numeric
    ]
    assert [(f.name, f.series_values, f.series_counts) for f in ours.categorical] == [
        (f.name, f.series_values, f.series_counts) for f in plain.categorical
    ]


def test_an_array_has_its_columns_in_the_order_of_the_profile(trained: ReferenceProfile) -> None:
    """A two-dimensional array without names is read in the order of the training data."""
    rows = list(zip(*(COLUMNS[name] for name in trained.order), strict=True))
    assert counts_of(trained, np.array(rows, dtype=object)) == counts_of(trained, COLUMNS)


def test_the_names_of_an_array_can_be_given() -> None:
    """`profile_frame` takes the names of an array's columns, and numbers them otherwise."""
    values = np.arange(6.0).reshape(3, 2)
    assert profile_frame(values, [0, 1, 0], [0, 1, 0]).order == ("x0", "x1")
    assert profile_frame(values, [0, 1, 0], [0, 1, 0], names=["age", "gain"]).order == ("age", "gain")


@pytest.mark.parametrize("form", [form for form in FORMS if form is not arrow_arrays], ids=lambda form: form.__name__)
def test_no_rows_are_no_error(trained: ReferenceProfile, form: Callable[..., Any]) -> None:
    """Data without rows are counted as no rows, in every form."""
    empty = form({name: [] for name in COLUMNS})
    assert read_table(empty, trained.order).n_rows == 0
    with Measurement("m", "1", trained) as measure:
        measure(empty, [], np.empty((0, 2)))
        assert b'sightline_faults_total{place="measurement"} 0.0' in measure.scrape()[0]
        assert counted_by(measure).rows() == 0


def test_names_that_are_numbers_are_read_as_text() -> None:
    """Columns under the keys 0 and 1 are those of a DataFrame with the labels 0 and 1."""
    columns: dict[Any, list[int]] = {0: [41, 38], 1: [7, 9]}
    rows: list[dict[Any, int]] = [{0: 41, 1: 7}, {0: 38, 1: 9}]
    for data in (columns, rows):
        for order in (None, ["0", "1"]):
            read = read_table(data, order)
            assert {name: column.tolist() for name, column in read.columns.items()} == {"0": [41, 38], "1": [7, 9]}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_an_absent_column_is_named(trained: ReferenceProfile, form: Callable[..., Any]) -> None:
    """An absent feature is an error that names it and the columns that are there."""
    without = form({name: values for name, values in COLUMNS.items() if name != "rooms"})
    with pytest.raises(ValueError, match="the data lacks the columns 'rooms'; it has 'age', 'smokes', 'city'"):
        read_table(without, trained.order)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ("age", TypeError, r"the data is a str; pass a DataFrame of pandas or polars"),
        (None, TypeError, r"the data is a NoneType; pass"),
        ([{"age": 1}, [1]], TypeError, r"row 1 of the list is a list, not a dict; pass"),
        (np.arange(3.0), ValueError, r"the array has the shape \(3,\); pass \(n_rows, n_columns\)"),
        (np.ones((3, 2)), ValueError, r"the array has 2 columns, and there are 1 names: age"),
        ({"age": "41"}, ValueError, r"the column 'age' is '41'; give a sequence with one value per row"),
        ({"age": 41}, ValueError, r"the column 'age' is 41; give a sequence"),
        ({"age": np.ones((2, 2))}, ValueError, r"the column 'age' is there twice, or has several values per row"),
    ],
)
def test_data_of_another_form_are_refused(data: Any, kind: type[Exception], message: str) -> None:
    """What is not rows with columns is refused with what it is and what to pass."""
    with pytest.raises(kind, match=message):
        read_table(data, ["age"])


def test_columns_of_different_lengths_are_refused() -> None:
    """A dict of columns has as many values in each."""
    with pytest.raises(ValueError, match="the column 'b' has 1 values, and the first column 2"):
        read_table({"a": [1, 2], "b": [1]})


def test_a_lazy_frame_is_refused() -> None:
    """A query that has no rows yet is refused with what to pass."""
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match="the data is a LazyFrame; pass a DataFrame"):
        read_table(polars.LazyFrame({"a": [1]}))


def test_a_pandas_column_that_is_there_twice() -> None:
    """Two columns of one name are refused if they are a feature, and left out if they are not."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, 2, 3]], columns=["a", "a", "b"])
    assert read_table(frame, ["b"]).columns["b"].tolist() == [3]
    with pytest.raises(ValueError, match="the column 'a' is there twice"):
        read_table(frame, ["a"])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_table_is_cut_into_parts(form: Callable[..., Any]) -> None:
    """The parts of a table are its rows in their order; a table that is short enough is one part, not copied."""
    table = read_table(form(COLUMNS), ["rooms"])
    parts = list(table.parts(4))
    assert [part for part, _ in parts] == [slice(0, 4), slice(4, 6)]
    assert [[int(value) for value in rows.columns["rooms"]] for _, rows in parts] == [[3, 2, 1, 2], [9, 3]]
    ((_, whole),) = table.parts(6)
    assert isinstance(whole, Table)
    assert whole is table
