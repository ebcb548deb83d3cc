"""Inspects a fitted estimator: the columns it takes, what it imputes and how, what it reads as categories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # IterativeImputer exists only after it
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder

from sightline_telemetry.estimators import active_steps, branches, inner_models, is_passed_through

Origins = Sequence[str | None] | None
"""For each column that reaches a step, the feature it still is; None for what is made of several or encoded.

None in place of the whole if the number of columns is unknown.
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
    """Returns what a fitted estimator does with its features; features: the names of the columns that reach it."""
    inputs = Inputs()
    _walk(estimator, list(features), inputs)
    return inputs


def unwrapped(model: Any) -> Any:
    """Returns the estimator that a search (GridSearchCV and the like) found best; any other model as it is."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    return model


def feature_names(model: Any) -> list[str] | None:
    """Returns the columns that a model was fitted on, in their order; None if it was fitted on an array."""
    names = getattr(model, "feature_names_in_", None)
    if names is None and isinstance(model, Pipeline):
        # A first step that is `passthrough` has seen nothing; the next one was fitted on the same columns.
        steps = active_steps(model)
        return feature_names(steps[0][1]) if steps and is_passed_through(model.steps[0][1]) else None
    return None if names is None else [str(name) for name in names]


def takes_arrays(model: Any) -> bool:
    """Returns True if a model was fitted on an array: it knows the number of columns, but no names."""
    return feature_names(model) is None and getattr(model, "n_features_in_", None) is not None


def _walk(estimator: Any, origins: Origins, inputs: Inputs) -> Origins:
    """Notes in inputs what an estimator does, and returns the origins of its output columns."""
    if isinstance(estimator, str) and estimator == "drop":
        return []
    if origins is None or is_passed_through(estimator):
        return origins
    for kind, handle in _HANDLERS:
        if isinstance(estimator, kind):
            return handle(estimator, origins, inputs)
    return _walk_other(estimator, origins, inputs)


def _walk_other(estimator: Any, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    is_category = getattr(estimator, "is_categorical_", None)  # histogram gradient boosting reads categories itself
    for origin in np.array(origins, dtype=object)[is_category] if is_category is not None else ():
        if origin is not None:
            inputs.known.setdefault(origin, ())
    for inner, seen in inner_models(estimator):
        _walk(inner, origins if seen is None else [origins[position] for position in seen], inputs)
    if isinstance(estimator, SelectorMixin):
        return [origin for origin, is_kept in zip(origins, estimator.get_support(), strict=True) if is_kept]
    return origins if isinstance(estimator, OneToOneFeatureMixin) else None


def _walk_steps(estimator: Pipeline, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    seen: Origins = origins
    for _, step in active_steps(estimator):
        seen = _walk(step, seen, inputs)
    return seen


def _walk_union(estimator: FeatureUnion, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    parts = [_walk(step, origins, inputs) for _, step in estimator.transformer_list]
    return None if any(part is None for part in parts) else [origin for part in parts if part for origin in part]


def _walk_function(estimator: FunctionTransformer, origins: Sequence[str | None], inputs: Inputs) -> Origins:  # noqa: ARG001
    return origins if estimator.func is None or estimator.feature_names_out == "one-to-one" else None


def _walk_columns(estimator: ColumnTransformer, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    outputs: list[str | None] = [None] * max((part.stop for part in estimator.output_indices_.values()), default=0)
    for name, step, positions in branches(estimator, range(len(origins))) or ():
        made = _walk(step, [origins[position] for position in positions], inputs)
        part = estimator.output_indices_[name]
        if made is not None and len(made) == part.stop - part.start:
            outputs[part] = made
    return outputs


def _walk_imputer(estimator: Any, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    names = getattr(estimator, "feature_names_in_", None)
    names = [f"x{index}" for index in range(len(origins))] if names is None else list(names)
    origin_of = dict(zip(names, origins, strict=True))
    # A column that is empty in training is dropped; columns that say where values were missing are added.
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


def _walk_encoder(estimator: Any, origins: Sequence[str | None], inputs: Inputs) -> Origins:
    for origin, categories in zip(origins, estimator.categories_, strict=True):
        if origin is None or origin in inputs.known:
            continue
        present = [category for category in categories.tolist() if not pd.isna(category)]
        # The constant that replaced a missing value is not a category that a client sends.
        is_filled = inputs.imputed_by.get(origin) == "constant"
        inputs.known[origin] = () if is_filled else tuple(str(category) for category in present)
        if present and all(isinstance(category, str) for category in present):
            inputs.words.add(origin)
    if isinstance(estimator, OrdinalEncoder) and pd.isna(estimator.encoded_missing_value):
        return origins  # what is missing still is, so an imputer may come behind
    return None if isinstance(estimator, TargetEncoder) else [None] * len(estimator.get_feature_names_out())


_HANDLERS: tuple[tuple[Any, Callable[[Any, Sequence[str | None], Inputs], Origins]], ...] = (
    (Pipeline, _walk_steps),
    (ColumnTransformer, _walk_columns),
    (FeatureUnion, _walk_union),
    (SimpleImputer | KNNImputer | IterativeImputer, _walk_imputer),
    (OneHotEncoder | OrdinalEncoder | TargetEncoder, _walk_encoder),
    (FunctionTransformer, _walk_function),
)
