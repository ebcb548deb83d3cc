"""Drop-in OneHotEncoder and SimpleImputer that count as they transform, for models served by an app of your own.

    model = Pipeline([... SimpleImputer() ... OneHotEncoder() ...]).fit(X, y)  # ours, from this module
    measure = Measurement("churn", "3", profile)
    bind(model, measure)  # once, wherever the fitted model is to be served

    probabilities = model.predict_proba(data)  # counts what goes in
    measure.outputs(model.classes_[probabilities.argmax(axis=1)], probabilities)

Each run of the pipeline counts, so `predict` and `predict_proba` on the same rows are two.

A feature is counted where it first meets a drop-in, as it comes from the client: by its own name, a missing value
as missing. Being bound is no parameter: `fit`, `clone` and pickling undo it. So what is transformed while fitting
or searching is not counted, and a model that was pickled is bound again where it is loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.impute import SimpleImputer as SklearnSimpleImputer
from sklearn.preprocessing import OneHotEncoder as SklearnOneHotEncoder

from sightline_telemetry.estimators import active_steps, branches, inner_models
from sightline_telemetry.measurement import Measurement
from sightline_telemetry.model.column_values import category_codes, numbers
from sightline_telemetry.model.table import column_at


class _Counting:
    """What both drop-ins share; stands before scikit-learn's class in their bases."""

    _binding: "_Binding | None" = None

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  # scikit-learn's own name
        """Fits as scikit-learn does; a new fit is another model, so it is no longer bound."""
        self._binding = None
        fitted: Self = super().fit(X, y)  # type: ignore[misc]
        return fitted

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Transforms as scikit-learn does, then counts the rows; rows that it refuses are not counted."""
        transformed = super().transform(X)  # type: ignore[misc]
        if self._binding is not None:
            self._binding.count(X)
        return transformed

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_binding"}


class OneHotEncoder(_Counting, SklearnOneHotEncoder):  # type: ignore[misc]
    """scikit-learn's OneHotEncoder, which counts what it transforms once it is bound."""


class SimpleImputer(_Counting, SklearnSimpleImputer):  # type: ignore[misc]
    """scikit-learn's SimpleImputer, which counts what it transforms once it is bound."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of what a drop-in is given, and which of the profile's features of its kind it is."""

    position: int
    member: int
    vocabulary: dict[Any, int] | None
    """Of a categorical feature."""


@dataclass(frozen=True, slots=True)
class _Binding:
    """Which columns of a drop-in are counted, and where."""

    measure: Measurement
    numeric: tuple[_Column, ...]
    categorical: tuple[_Column, ...]

    def count(self, data: Any) -> None:
        """Counts (n_rows, n_columns) data; a fault in it is the telemetry's own and ends there."""
        with self.measure.contained():
            recorder = self.measure.recorder
            if self.numeric:
                values = np.array([numbers(column_at(data, column.position)) for column in self.numeric])
                recorder.record_numeric(values, [column.member for column in self.numeric])
            if self.categorical:
                codes = [
                    category_codes(column_at(data, column.position), column.vocabulary or {})
                    for column in self.categorical
                ]
                recorder.record_codes(np.array(codes), [column.member for column in self.categorical])


def bind(model: Any, measure: Measurement) -> tuple[str, ...]:
    """Has every drop-in of a fitted model count into a measurement.

    Returns the features that meet no drop-in in their raw form, and so are not counted.
    Raises ValueError for a model whose transformers run in processes of their own, whose counts would be lost.
    """
    profile = measure.profile
    columns: dict[str, _Column] = {}
    for member, numeric in enumerate(profile.numeric):
        columns[numeric.name] = _Column(0, member, None)
    for member, categorical in enumerate(profile.categorical):
        columns[categorical.name] = _Column(0, member, categorical.vocabulary())
    for drop_in, names in _drop_ins(model, profile.order):
        seen = [
            _Column(position, column.member, column.vocabulary)
            for position, name in enumerate(names)
            if (column := columns.pop(name, None)) is not None  # taken by the first that it meets
        ]
        drop_in._binding = _Binding(  # noqa: SLF001  # the drop-in is this module's own
            measure,
            tuple(column for column in seen if column.vocabulary is None),
            tuple(column for column in seen if column.vocabulary is not None),
        )
    return tuple(name for name in profile.order if name in columns)


def _drop_ins(model: Any, names: Sequence[str]) -> Iterator[tuple[_Counting, Sequence[str]]]:
    """Each drop-in that raw features reach, with their names in the order of its columns."""
    names = [str(name) for name in getattr(model, "feature_names_in_", names)]
    if isinstance(model, _Counting):
        yield model, names
    elif hasattr(model, "steps"):
        # Behind the first step that changes them, columns are no longer what the client sent.
        for _, first in active_steps(model)[:1]:
            yield from _drop_ins(first, names)
    elif (parts := branches(model, names)) is not None:
        _check_in_process(model)
        for _, part, positions in parts:
            yield from _drop_ins(part, [names[position] for position in positions])
    else:
        for inner, seen in inner_models(model):
            yield from _drop_ins(inner, names if seen is None else [names[position] for position in seen])


def _check_in_process(model: Any) -> None:
    if getattr(model, "n_jobs", None) not in (None, 1):
        raise ValueError(
            f"{type(model).__name__} has n_jobs={model.n_jobs}: its transformers would count in processes of their "
            "own, where the counts are lost; set n_jobs=None before you bind it"
        )
