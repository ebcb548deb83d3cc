"""Computes linear models with the preprocessing folded in: one term per input, and their sum."""

from collections.abc import Sequence
from math import hypot, sqrt
from sys import maxsize
from typing import Any

import numpy as np
from sklearn import linear_model
from sklearn.svm import LinearSVC

from sightline_service.prediction.fastpath import ready
from sightline_service.prediction.fastpath.ready import Column, Lookup, Numeric
from sightline_telemetry.model.histogram import Codes, Floats

KNOWN = (
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.Lasso,
    linear_model.LassoCV,
    linear_model.LinearRegression,
    LinearSVC,
    linear_model.LogisticRegression,
    linear_model.LogisticRegressionCV,
    linear_model.Ridge,
    linear_model.RidgeClassifier,
    linear_model.RidgeCV,
)
"""Estimators whose score is `matrix @ coef_.T + intercept_`."""

MAX_TERMS = 500.0
"""Sum of the absolute terms up to which rounding in another order moves a probability by less than 1e-12."""


class FoldedLinear:
    """score_k = constant_k + sum of one term per input, in plain Python for few rows and in numpy for many.

    Raises ValueError if a column is not affine in one input, or if the terms are too large to be added in any order.
    """

    def __init__(
        self, estimator: Any, columns: Sequence[Column], n_numeric: int, vocabularies: Sequence[ready.Vocabulary]
    ) -> None:
        weights = np.atleast_2d(estimator.coef_)
        n_scores = len(weights)
        self._slopes = np.zeros((n_scores, n_numeric))
        self._missing = np.zeros((n_scores, n_numeric))
        self._constant = np.zeros(n_scores) + estimator.intercept_
        largest = float(np.abs(self._constant).max())
        self._tables = [np.zeros((len(each) + 1, n_scores)) for each in vocabularies]
        for weight, column in zip(weights.T, columns, strict=True):
            if isinstance(column, Lookup):
                self._tables[column.feature] += np.outer(np.asarray(column.values, dtype=np.float64), weight)
            elif isinstance(column, Numeric) and column.is_affine:
                slope, intercept = _affine(column)
                filled = float(column.of(np.array([np.nan]))[0])
                self._slopes[:, column.feature] += weight * slope
                self._constant += weight * intercept
                self._missing[:, column.feature] += weight * (filled - intercept)
                largest += float(np.abs(weight * intercept).max())
            else:
                raise ValueError("a column is not affine in one input")
        if not largest < MAX_TERMS:
            raise ValueError("the terms are too large to be added in any order")
        self._numbers = list(zip(self._slopes[0].tolist(), self._missing[0].tolist(), strict=True))
        self._is_never_missing = np.isnan(self._missing).any(axis=0)  # nothing fills it in
        self._missing[:, self._is_never_missing] = 0.0
        self._n_numeric = n_numeric
        self._words = [
            ready.lookup(each, table[:, 0].tolist()) for each, table in zip(vocabularies, self._tables, strict=True)
        ]
        self._small = MAX_TERMS / sqrt(n_numeric + len(self._words))
        self.takes_few = n_scores == 1
        self.most_rows = maxsize

    def few(self, rows: Sequence[Sequence[Any]]) -> list[float] | None:
        """Returns the scores of some rows, values in the profile's order; None if rounding could change an outcome."""
        numbers, words, n_numeric, constant = self._numbers, self._words, self._n_numeric, float(self._constant[0])
        scores = []
        for row in rows:
            terms = [missing if value is None else value * slope for value, (slope, missing) in zip(row, numbers)]  # noqa: B905  # words follow
            terms += [term(word, unseen) for word, (term, unseen) in zip(row[n_numeric:], words)]  # noqa: B905  # as many
            # The norm is cheaper than the sum of what it bounds; what is not finite passes neither.
            if not hypot(*terms) < self._small and not sum(map(abs, terms)) < MAX_TERMS:
                return None
            scores.append(constant + sum(terms))
        return scores

    def many(self, numeric: Floats, codes: Codes) -> Floats | None:
        """Returns (n_rows, n_scores) of (n_numeric, n_rows) and (n_categorical, n_rows); None as above."""
        is_missing = np.isnan(numeric)
        if is_missing[self._is_never_missing].any():
            return None
        present = np.where(is_missing, 0.0, numeric)
        with np.errstate(invalid="ignore", over="ignore"):
            largest = (np.abs(self._slopes) @ np.abs(present)).max(initial=0.0)
        if not largest < MAX_TERMS:
            return None
        scores: Floats = (self._slopes @ present + self._missing @ is_missing).T + self._constant
        for table, column in zip(self._tables, codes, strict=True):
            scores += table[column]
        return scores


def _affine(column: Numeric) -> tuple[float, float]:
    """Returns slope and intercept of a column where its input is not missing."""
    slope, intercept = 1.0, 0.0
    for operation in column.operations:
        if isinstance(operation, ready.IsMissing):
            slope, intercept = 0.0, 0.0
        elif isinstance(operation, ready.Arithmetic):
            intercept = float(operation.ufunc(intercept, operation.number))
            if operation.ufunc in (np.multiply, np.divide):
                slope = float(operation.ufunc(slope, operation.number))
        elif not isinstance(operation, ready.Fill):
            raise ValueError(f"{operation} is not affine")
    return slope, intercept
