"""Columns that came by row and columns that came by feature hold the same, by row, by feature and joined."""

import numpy as np
import pytest

from sightline_service.prediction.columns import (
    ArrayColumns,
    ColumnBuilder,
    Columns,
    RowColumns,
    RowValues,
    join_columns,
    unseen_value,
)
from sightline_telemetry.model.profile import (
    CategoricalFeature,
    CategoryType,
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_values,
)

ROWS: RowValues = [(1.5, "Bern"), (None, "Lyon"), (2.0, None)]


@pytest.fixture(name="builder", scope="module")
def _builder() -> ColumnBuilder:
    return ColumnBuilder(
        ReferenceProfile(
            order=("size", "city"),
            numeric=(profile_numeric("size", np.arange(4.0)),),
            categorical=(profile_categorical("city", ["Bern", "Oslo", "Bern"]),),
            **profile_values(np.arange(3.0), np.arange(3.0)),
        )
    )


def assert_equal(ours: Columns, theirs: Columns) -> None:
    """The same rows, and the same values by feature."""
    assert (len(ours), ours.rows) == (len(theirs), theirs.rows)
    np.testing.assert_array_equal(ours.arrays.numeric, theirs.arrays.numeric)
    np.testing.assert_array_equal(ours.arrays.codes, theirs.arrays.codes)
    assert list(map(list, ours.arrays.raw)) == list(map(list, theirs.arrays.raw))


def test_rows_and_arrays_hold_the_same(builder: ColumnBuilder) -> None:
    """Numbers become float64 with NaN, categories codes: known ones first, then unseen, then missing."""
    by_row = builder.build(ROWS)
    by_feature = builder.assemble(np.array([[1.5, np.nan, 2.0]]), (["Bern", "Lyon", None],))
    assert (type(by_row), type(by_feature)) == (RowColumns, ArrayColumns)
    assert_equal(by_row, by_feature)
    assert by_row.arrays.codes.tolist() == [[0, 2, 3]]
    assert by_feature.rows == ROWS


def test_joined_columns_stand_in_the_order_of_their_parts(builder: ColumnBuilder) -> None:
    """Rows, arrays and mixtures of both join to the same; a single part is not copied."""
    by_row = builder.build(ROWS)
    by_feature = ArrayColumns(by_row.arrays)
    twice = builder.build(ROWS * 2)
    for parts in ((by_row, by_row), (by_feature, by_feature), (by_row, by_feature)):
        assert_equal(join_columns(parts), twice)
    assert isinstance(join_columns((by_row, by_row)), RowColumns)
    assert join_columns((by_row,)) is by_row
    assert join_columns((by_feature,)) is by_feature


@pytest.mark.parametrize(
    ("dtype", "categories", "expected"),
    [
        ("str", ("a", "b"), "a category that no training data has"),
        ("int64", ("10", "30"), 31),
        ("float64", ("0.5",), 1.5),
        ("int64", (), 1),
        ("bool", ("True",), False),
        ("bool", ("False", "True"), False),
    ],
)
def test_an_unseen_value_is_none_of_the_categories(
    dtype: CategoryType, categories: tuple[str, ...], expected: object
) -> None:
    """The value has the feature's type; there is no third boolean."""
    feature = CategoricalFeature("feature", categories, (1,) * len(categories), 0, None, dtype=dtype)
    value = unseen_value(feature)
    assert (value, type(value)) == (expected, type(expected))
