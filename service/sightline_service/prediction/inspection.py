"""Walks a fitted estimator: the columns it takes, what it imputes and how, what it reads as categories."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # IterativeImputer exists only after it
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder
from sklearn.utils.validation import check_is_fitted

Origins = Sequence[str | None] | None
"""For each column that reaches a step, the feature it still is; None for what is made of several or encoded.

None in place of the whole: nobody can say how many columns there are.
"""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an estimator does with its features.

    imputed_by: feature -> mean, median, most_frequent, constant, callable, knn or iterative.
    known: feature -> the categories that an encoder knows, as strings; features in it are read as categories.
    words: features whose categories are strings to the encoder.
    """

    imputed_by: dict[str, str] = field(default_factory=dict)
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)


def walk(estimator: Any, features: Sequence[str]) -> Inputs:
    """What a fitted estimator does with its features; features: the names of the columns that reach it."""
    inputs = Inputs()
    _walk(estimator, list(features), inputs)
    return inputs


def unwrapped(model: Any) -> Any:
    """The estimator that a search (GridSearchCV and kin) found best; any other model is itself."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    return model


def feature_names(model: Any) -> list[str] | None:
    """The columns that a model was fitted on, in their order; None if it was fitted on an array, or cannot tell."""
    names = getattr(model, "feature_names_in_", None)
    if names is None and isinstance(model, Pipeline):
        # A first step that is `passthrough` has seen nothing; the next one was fitted on the same columns.
        steps = [step for _, step in model.steps if step is not None and step != "passthrough"]
        return feature_names(steps[0]) if steps and steps[0] is not model.steps[0][1] else None
    return None if names is None else [str(name) for name in names]


def takes_arrays(model: Any) -> bool:
    """True if a model was fitted on an array: it knows how many columns there were, and no names."""
    return feature_names(model) is None and getattr(model, "n_features_in_", None) is not None


def _walk(estimator: Any, origins: Origins, inputs: Inputs) -> Origins:
    """Notes what an estimator does, and returns what its output columns are."""
    if isinstance(estimator, str) and estimator == "drop":
        return []
    if origins is None or estimator is None or isinstance(estimator, str):
        return origins
    for kind, handle in _HANDLERS:
        if isinstance(estimator, kind):
            return handle(estimator, origins, inputs)
    return _through_any(estimator, origins, inputs)


def _through_any(estimator: Any, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    is_category = getattr(estimator, "is_categorical_", None)  # histogram gradient boosting reads categories itself
    for origin in np.array(origins, dtype=object)[is_category] if is_category is not None else ():
        if origin is not None:
            inputs.known.setdefault(origin, ())
    for inner, seen in _inner(estimator, origins):
        _walk(inner, seen, inputs)
    if isinstance(estimator, SelectorMixin):
        return [origin for origin, is_kept in zip(origins, estimator.get_support(), strict=True) if is_kept]
    return origins if isinstance(estimator, OneToOneFeatureMixin) else None


def _through_steps(estimator: Pipeline, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    seen: Origins = origins
    for _, step in estimator.steps:
        seen = _walk(step, seen, inputs)
    return seen


def _through_union(estimator: FeatureUnion, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    parts = [_walk(step, origins, inputs) for _, step in estimator.transformer_list]
    return None if any(part is None for part in parts) else [origin for part in parts if part for origin in part]


def _through_function(estimator: FunctionTransformer, origins: Sequence[str | None], inputs: Inputs) -> Origins:  # noqa: ARG001
    return origins if estimator.func is None or estimator.feature_names_out == "one-to-one" else None


def _through_columns(estimator: ColumnTransformer, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    names = getattr(estimator, "feature_names_in_", np.arange(len(origins)))
    positions = pd.Series(np.arange(len(names)), index=names)
    outputs: list[str | None] = [None] * max((part.stop for part in estimator.output_indices_.values()), default=0)
    for name, step, columns in estimator.transformers_:
        made = _walk(step, [origins[position] for position in _positions(columns, positions)], inputs)
        part = estimator.output_indices_[name]
        if made is not None and len(made) == part.stop - part.start:
            outputs[part] = made
    return outputs


def _positions(columns: Any, positions: "pd.Series[int]") -> list[int]:
    """Where a ColumnTransformer's columns are: given as names, numbers, slices of either, or a mask."""
    if isinstance(columns, str | int | np.integer):
        columns = [columns]
    if isinstance(columns, slice):
        by_name = isinstance(columns.start, str) or isinstance(columns.stop, str)
        return (positions.loc[columns] if by_name else positions.iloc[columns]).tolist()
    columns = list(columns)
    if columns and isinstance(columns[0], bool | np.bool):
        return positions[np.array(columns)].tolist()
    return [int(positions[column] if isinstance(column, str) else positions.iloc[column]) for column in columns]


def _through_imputer(estimator: Any, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    names = getattr(estimator, "feature_names_in_", None)
    names = [f"x{index}" for index in range(len(origins))] if names is None else list(names)
    origin_of = dict(zip(names, origins, strict=True))
    # A column that training never saw filled is dropped; columns that say where values were missing are added.
    outputs = [origin_of.get(name) for name in estimator.get_feature_names_out()]
    if pd.isna(estimator.missing_values):  # another mark of what is missing is a value like any other to a client
        for origin in outputs:
            if origin is not None:
                inputs.imputed_by.setdefault(origin, _method(estimator))
    return outputs


def _method(imputer: Any) -> str:
    if isinstance(imputer, SimpleImputer):
        return imputer.strategy if isinstance(imputer.strategy, str) else "callable"
    return "knn" if isinstance(imputer, KNNImputer) else "iterative"


def _through_encoder(estimator: Any, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    for origin, categories in zip(origins, estimator.categories_, strict=True):
        if origin is None or origin in inputs.known:
            continue
        present = [category for category in categories.tolist() if not pd.isna(category)]
        # What a constant put in the place of a missing value is no category of the caller's.
        is_filled = inputs.imputed_by.get(origin) == "constant"
        inputs.known[origin] = () if is_filled else tuple(str(category) for category in present)
        if present and all(isinstance(category, str) for category in present):
            inputs.words.add(origin)
    if isinstance(estimator, OrdinalEncoder) and pd.isna(estimator.encoded_missing_value):
        return origins  # what is missing still is, so an imputer may come behind
    return None if isinstance(estimator, TargetEncoder) else [None] * len(estimator.get_feature_names_out())


def _inner(estimator: Any, origins: Sequence[str | None]) -> Iterator[tuple[Any, Origins]]:
    """The fitted estimators within a search, a vote, a calibration, ..., and the columns that each of them sees."""
    for attribute in ("best_estimator_", "estimator_", "regressor_"):
        inner = getattr(estimator, attribute, None)
        if inner is not None and _is_fitted(inner):  # some keep here what they made copies of
            yield inner, origins
    for calibrated in getattr(estimator, "calibrated_classifiers_", ()):
        yield calibrated.estimator, origins
    members = np.ravel(np.array(getattr(estimator, "estimators_", []), dtype=object))
    subsets: Mapping[int, Any] = dict(enumerate(getattr(estimator, "estimators_features_", ())))
    for index, member in enumerate(members):
        if not hasattr(member, "tree_"):
            yield member, [origins[i] for i in subsets[index]] if index in subsets else origins


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return not isinstance(estimator, Pipeline) or all(_is_fitted(step) for _, step in estimator.steps[:1])


_HANDLERS: tuple[tuple[Any, Callable[[Any, Sequence[str | None], Inputs], Origins]], ...] = (
    (Pipeline, _through_steps),
    (ColumnTransformer, _through_columns),
    (FeatureUnion, _through_union),
    (SimpleImputer | KNNImputer | IterativeImputer, _through_imputer),
    (OneHotEncoder | OrdinalEncoder | TargetEncoder, _through_encoder),
    (FunctionTransformer, _through_function),
)
