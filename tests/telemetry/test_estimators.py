"""The structure of fitted estimators is read as scikit-learn itself reads it."""

from collections import UserList
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

from sightline_telemetry.estimators import active_steps, branches, column_positions, inner_models

NAMES = ["a", "b", "c", "d"]
X = np.random.default_rng(0).normal(size=(40, 4))
Y = X[:, 0] > 0


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("c", [2]),
        (1, [1]),
        (-1, [3]),
        (["d", "a"], [3, 0]),
        ([0, np.int64(2), -1], [0, 2, 3]),
        (UserList([2, 3]), [2, 3]),
        ([], []),
        (slice("b", "c"), [1, 2]),
        (slice(None, "b"), [0, 1]),
        (slice(1, None), [1, 2, 3]),
        (slice(0, 4, 2), [0, 2]),
        ([True, False, False, True], [0, 3]),
        (np.array([False, True, False, False]), [1]),
        (np.array(["b", "d"], dtype=object), [1, 3]),
    ],
)
def test_columns_are_found_as_scikit_learn_finds_them(columns: Any, expected: list[int]) -> None:
    """Names, numbers, slices of either and masks give positions; a slice of names includes its end."""
    assert column_positions(columns, NAMES) == expected


def test_steps_that_do_nothing_are_left_out() -> None:
    """A Pipeline's active steps leave out `passthrough` and None; other estimators have no steps."""
    scaler, model = StandardScaler(), LogisticRegression()
    assert active_steps(Pipeline([("a", "passthrough"), ("b", scaler), ("c", None), ("d", model)])) == [
        ("b", scaler),
        ("d", model),
    ]
    assert active_steps(model) == []


def test_branches_come_with_the_positions_of_their_columns() -> None:
    """A ColumnTransformer's parts see some columns, its remainder last; a FeatureUnion's parts see all of them."""
    columns = ColumnTransformer([("first", StandardScaler(), [2])], remainder="passthrough").fit(X)
    assert [(name, seen) for name, _, seen in branches(columns, NAMES) or ()] == [
        ("first", [2]),
        ("remainder", [0, 1, 3]),
    ]
    union = FeatureUnion([("all", StandardScaler())]).fit(X)
    assert [(name, seen) for name, _, seen in branches(union, NAMES) or ()] == [("all", [0, 1, 2, 3])]
    assert branches(LogisticRegression(), NAMES) is None


def test_inner_models_are_the_fitted_ones() -> None:
    """A bag gives its members with the columns they see, not its template; a search its best; a forest no trees."""
    bag = BaggingClassifier(LogisticRegression(), n_estimators=3, max_features=2, random_state=0).fit(X, Y)
    assert [(member, seen) for member, seen in inner_models(bag)] == [
        (member, list(seen)) for member, seen in zip(bag.estimators_, bag.estimators_features_, strict=True)
    ]
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2).fit(X, Y)
    assert list(inner_models(search)) == [(search.best_estimator_, None)]
    assert list(inner_models(RandomForestClassifier(2).fit(X, Y))) == []
