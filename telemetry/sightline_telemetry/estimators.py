"""Reads the structure of fitted scikit-learn estimators from their attributes, without importing scikit-learn."""

from collections import UserList
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def is_passed_through(step: Any) -> bool:
    """Returns True if a step of a Pipeline or a part of a ColumnTransformer leaves its columns as they are."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def active_steps(model: Any) -> list[tuple[str, Any]]:
    """Returns the named steps of a Pipeline that change their input; an empty list for any other estimator."""
    return [(name, step) for name, step in getattr(model, "steps", ()) if not is_passed_through(step)]


def branches(transformer: Any, names: Sequence[Any]) -> list[tuple[str, Any, list[int]]] | None:
    """Returns the parts of a fitted ColumnTransformer or FeatureUnion: name, transformer, positions of its columns.

    names: the names of the columns that reach the transformer, used if it was fitted without names.
    Returns None for an estimator that is neither of the two.
    """
    if hasattr(transformer, "transformers_"):
        known = getattr(transformer, "feature_names_in_", names)
        return [(name, part, column_positions(columns, known)) for name, part, columns in transformer.transformers_]
    if hasattr(transformer, "transformer_list"):
        return [(name, part, list(range(len(names)))) for name, part in transformer.transformer_list]
    return None


def column_positions(columns: Any, names: Sequence[Any]) -> list[int]:
    """Returns the positions of columns given as names, numbers, slices of either (names inclusive), or a mask."""
    place = {name: position for position, name in enumerate(names)}
    if isinstance(columns, slice):
        start = place[columns.start] if isinstance(columns.start, str) else columns.start
        stop = place[columns.stop] + 1 if isinstance(columns.stop, str) else columns.stop
        return list(range(len(names))[start : stop : columns.step])
    if isinstance(columns, UserList):
        columns = columns.data  # scikit-learn 1.5 to 1.7 warns when its own list of remainder columns is read
    chosen = [columns] if isinstance(columns, str | int | np.integer) else list(columns)
    if chosen and isinstance(chosen[0], bool | np.bool_):
        return [position for position, is_chosen in enumerate(chosen) if is_chosen]
    return [place[column] if isinstance(column, str) else range(len(names))[column] for column in chosen]


def inner_models(model: Any) -> Iterator[tuple[Any, list[int] | None]]:
    """Yields the fitted estimators within a search, a vote, a calibration, ..., without the trees of a forest.

    Each comes with the positions of the columns that it receives; None if it receives all of them.
    """
    for attribute in ("best_estimator_", "estimator_", "regressor_"):
        inner = getattr(model, attribute, None)
        if inner is not None and _is_fitted(inner):  # some estimators keep an unfitted template here
            yield inner, None
    for calibrated in getattr(model, "calibrated_classifiers_", ()):
        yield calibrated.estimator, None
    members = np.ravel(np.array(getattr(model, "estimators_", []), dtype=object)).tolist()
    subsets = dict(enumerate(getattr(model, "estimators_features_", ())))
    for index, member in enumerate(members):
        if not hasattr(member, "tree_"):
            yield member, subsets[index].tolist() if index in subsets else None


def _is_fitted(estimator: Any) -> bool:
    """Applies scikit-learn's rule: fitted attributes end in an underscore. The first step decides for a Pipeline."""
    if hasattr(estimator, "steps"):
        return all(_is_fitted(step) for _, step in active_steps(estimator)[:1])
    if hasattr(estimator, "__sklearn_is_fitted__"):
        return bool(estimator.__sklearn_is_fitted__())
    return any(name.endswith("_") and not name.startswith("__") for name in vars(estimator))
