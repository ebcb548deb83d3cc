"""Predicts without the pipeline where that gives the same: columns in, predictions out, or None."""

from collections.abc import Callable, Sequence
from math import exp
from time import perf_counter_ns
from typing import Any

import numpy as np
import pandas as pd

from sightline_service.prediction.columns import ArrayColumns, ColumnArrays, Columns, unseen_value
from sightline_service.prediction.fastpath import linear, trees
from sightline_service.prediction.fastpath.reading import NotReadableError, read
from sightline_service.prediction.fastpath.ready import Column, Lookup, Numeric, Single, assemble, call
from sightline_service.prediction.result import ArrayPrediction, ListPrediction, OutputArrays, OutputLists, Prediction
from sightline_telemetry.model.histogram import Codes, Floats
from sightline_telemetry.model.profile import CategoricalFeature, ReferenceProfile

FEW_ROWS = 16
"""Up to here a loop in plain Python beats numpy's fixed cost."""

TIE = 1e-9
"""Scores this close to the border between two outcomes are left to the pipeline: rounding could decide them."""


Folded = linear.FoldedLinear | trees.TreeTable
"""A model with its preprocessing folded in: one score per row, or one per row and class."""


class FastPath:
    """Reads a model once; then predicts without pandas and, where the estimator is known, without scikit-learn.

    steps: the fitted transformers before the estimator. to_frame: what the pipeline itself is given.
    Raises NotReadableError, whose text says why the pipeline has to serve.
    """

    def __init__(
        self,
        steps: Sequence[Any],
        estimator: Any,
        profile: ReferenceProfile,
        to_frame: Callable[[Columns], pd.DataFrame],
    ) -> None:
        self._is_regression = profile.task == "regression"
        self._has_probabilities = bool(profile.scores)
        self._estimator = estimator
        self._n_steps = len(steps) + 1
        self._n_numeric = len(profile.numeric)
        vocabularies = [list(feature.vocabulary()) for feature in profile.categorical]
        self._codes = [{value: code for code, value in enumerate(each)} for each in vocabularies]
        columns = _inputs(profile, vocabularies, to_frame)
        for step in steps:
            columns = read(step, columns)
        if not all(_is_of_numbers(column) for column in columns):
            raise NotReadableError(f"{type(estimator).__name__} takes categories itself")
        self._columns = columns
        self._relabel = [
            _relabelled(feature, codes) for feature, codes in zip(profile.categorical, self._codes, strict=True)
        ]
        self._folded, self.kind = self._fold()

    def _fold(self) -> tuple[Folded | None, str]:
        """Returns how the estimator is computed, and a description of it."""
        name = type(self._estimator).__name__
        arguments = (self._estimator, self._columns, self._n_numeric, self._codes)
        try:
            if type(self._estimator) in linear.KNOWN:
                return linear.FoldedLinear(*arguments), f"{name} folded into one term per input"
            if type(self._estimator) in trees.KNOWN:
                return trees.TreeTable(*arguments), f"{name} as a table of leaves"
        except (ValueError, AttributeError) as error:
            return None, f"{name} called on the ready matrix ({error})"
        return None, f"{name} called on the ready matrix"

    @property
    def is_folded(self) -> bool:
        """Returns True if the estimator is known, so that most rows need nothing of scikit-learn."""
        return self._folded is not None

    def folded(self, columns: Columns, start_ns: int) -> Prediction | None:
        """Predicts some rows without scikit-learn; None for an unknown estimator, and for too many or too odd rows.

        start_ns: when the work on these rows began (monotonic). All of it counts as the last step's.
        """
        folded = self._folded
        if folded is None:
            return None
        if folded.takes_few and len(columns) <= FEW_ROWS:
            few = folded.few(columns.rows)
            return self._few(few, start_ns) if few is not None else None
        if len(columns) > folded.most_rows:
            return None
        arrays = columns.arrays
        many = folded.many(arrays.numeric, self._coded(arrays))
        return self._many(many, start_ns) if many is not None else None

    def _few(self, scores: list[float], start_ns: int) -> Prediction | None:
        if self._is_regression:
            lists = OutputLists(None, None, scores)
        else:
            outcomes: list[int] = []
            probabilities: list[Sequence[float]] = []
            for score in scores:
                if -TIE < score < TIE:
                    return None
                positive = 1.0 / (1.0 + exp(-score)) if score > -700.0 else 0.0
                outcomes.append(1 if score > 0.0 else 0)
                probabilities.append((1.0 - positive, positive))
            lists = OutputLists(outcomes, probabilities if self._has_probabilities else None)
        return ListPrediction(lists, (start_ns,) * self._n_steps + (perf_counter_ns(),))

    def _many(self, scores: Floats, start_ns: int) -> Prediction | None:
        """scores: (n_rows, n_scores), one score for two classes, otherwise one per class."""
        if self._is_regression:
            arrays = OutputArrays(None, None, scores[:, 0])
        else:
            if scores.shape[1] == 1:
                if (np.abs(scores) < TIE).any():
                    return None
                outcomes = (scores[:, 0] > 0).astype(np.intp)
                positive = np.array(1.0 / (1.0 + np.exp(-np.clip(scores, -700, None))))
                probabilities = np.hstack([1.0 - positive, positive])
            else:
                if (_lead(scores) < TIE).any():
                    return None
                outcomes = scores.argmax(axis=1)
                raised = np.exp(scores - scores.max(axis=1, keepdims=True))
                probabilities = raised / raised.sum(axis=1, keepdims=True)
            arrays = OutputArrays(outcomes, probabilities if self._has_probabilities else None)
        return ArrayPrediction(arrays, (start_ns,) * self._n_steps + (perf_counter_ns(),))

    def on_matrix(self, columns: Columns, start_ns: int) -> Prediction | None:
        """Predicts some rows by calling the estimator on the ready matrix; None if the pipeline has to predict them.

        start_ns: when the work on these rows began (monotonic). Making the matrix counts as the first step's.
        """
        arrays = columns.arrays
        if np.isinf(arrays.numeric).any():
            return None
        with np.errstate(over="ignore"):
            matrix = assemble(self._columns, arrays.numeric, self._coded(arrays))
        ready_ns = perf_counter_ns()
        outputs = self._call_estimator(matrix)
        return ArrayPrediction(outputs, (start_ns, *(ready_ns,) * (self._n_steps - 1), perf_counter_ns()))

    def _call_estimator(self, matrix: Floats) -> OutputArrays:
        if self._is_regression:
            values = np.asarray(call(self._estimator, "predict", matrix), dtype=np.float64).reshape(-1)
            return OutputArrays(None, None, values)
        probabilities = None
        if self._has_probabilities:
            probabilities = np.asarray(call(self._estimator, "predict_proba", matrix), dtype=np.float64)
        if probabilities is not None and self._folded is not None and (_lead(probabilities) > TIE).all():
            # A known estimator predicts the class of the largest probability; calling it again would double the cost.
            return OutputArrays(probabilities.argmax(axis=1), probabilities)
        classes = np.asarray(self._estimator.classes_)
        return OutputArrays(np.searchsorted(classes, call(self._estimator, "predict", matrix)), probabilities)

    def _coded(self, columns: ColumnArrays) -> Codes:
        """Codes against the whole vocabulary, with one code per rare category; unseen values have the last code."""
        codes = np.empty((len(self._codes), columns.numeric.shape[1]), dtype=np.intp)
        for index, (known, relabelled) in enumerate(zip(self._codes, self._relabel, strict=True)):
            if relabelled is not None:
                codes[index] = relabelled[columns.codes[index]]
            else:
                codes[index] = [known.get(value, len(known)) for value in columns.raw[index]]
        return codes


def _inputs(
    profile: ReferenceProfile, vocabularies: Sequence[list[Any]], to_frame: Callable[[Columns], pd.DataFrame]
) -> tuple[Column, ...]:
    """Returns the columns that reach the model, in its order: numbers, and the value of each category there."""
    n_rows = max((len(each) + 1 for each in vocabularies), default=1)
    raw = []
    for feature, known in zip(profile.categorical, vocabularies, strict=True):
        every = [*known, unseen_value(feature)]
        if not feature.accepts_missing:
            every[known.index(None)] = known[0]
        raw.append(every + every[:1] * (n_rows - len(every)))
    codes = np.zeros((len(raw), n_rows), dtype=np.intp)
    numbers = np.zeros((len(profile.numeric), n_rows))
    frame = to_frame(ArrayColumns(ColumnArrays(numbers, tuple(raw), codes)))
    numeric = {
        feature.name: Numeric(
            index, (Single(),) if feature.dtype == "float32" else (), is_whole=feature.dtype in ("int64", "bool")
        )
        for index, feature in enumerate(profile.numeric)
    }
    categorical = {feature.name: index for index, feature in enumerate(profile.categorical)}
    columns: list[Column] = []
    for name in profile.order:
        if name in numeric:
            columns.append(numeric[name])
        else:
            index = categorical[name]
            values = frame[name].to_numpy(dtype=object)[: len(vocabularies[index]) + 1]
            columns.append(Lookup(index, values))
    return tuple(columns)


def _lead(scores: Floats) -> Floats:
    """Returns by how much the largest of (n_rows, n_classes) scores leads the second."""
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T
    lead: Floats = first - second
    return lead


def _is_of_numbers(column: Column) -> bool:
    try:
        return not isinstance(column, Lookup) or np.asarray(column.values, dtype=np.float64).ndim == 1
    except (TypeError, ValueError):
        return False


def _relabelled(feature: CategoricalFeature, codes: dict[Any, int]) -> Codes | None:
    """Returns codes against the whole vocabulary by codes of labels; None if rare categories share a label."""
    if feature.others:
        return None
    labels = feature.vocabulary()
    relabelled = np.full(len(feature.series_values), len(codes), dtype=np.intp)
    for value, label in labels.items():
        relabelled[label] = codes[value]
    return relabelled
