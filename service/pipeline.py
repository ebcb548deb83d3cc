"""Walks a fitted estimator: which imputer fills which feature."""

from collections.abc import Iterable
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline


def imputation_methods(estimator: Any, features: Iterable[str]) -> dict[str, str]:
    """How each feature is imputed (`mean`, `median`, `most_frequent`, `constant`); those that are not are absent.

    features: the names of the columns that reach this estimator.
    """
    if isinstance(estimator, SimpleImputer):
        return dict.fromkeys(features, str(estimator.strategy))
    if isinstance(estimator, ColumnTransformer):
        found: dict[str, str] = {}
        for _, transformer, columns in estimator.transformers_:
            found |= imputation_methods(transformer, _names(columns))
        return found
    if isinstance(estimator, Pipeline):
        # Behind the first step that changes them, columns are no longer the features of the caller.
        return imputation_methods(estimator.steps[0][1], features)
    return {}


def _names(columns: Any) -> list[str]:
    return [columns] if isinstance(columns, str) else [str(column) for column in columns]
