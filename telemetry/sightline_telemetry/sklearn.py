"""Provides OneHotEncoder and SimpleImputer that count what they transform, for models served by an app of your own.

    model = Pipeline([... SimpleImputer() ... OneHotEncoder() ...]).fit(X, y)  # ours, from this module
    measure = Measurement("churn", "3", profile)
    bind(model, measure)  # once, wherever the fitted model is to be served

    probabilities = model.predict_proba(data)  # counts what goes in
    measure.outputs(model.classes_[probabilities.argmax(axis=1)], probabilities)

Each run of the pipeline counts, so `predict` and then `predict_proba` on the same rows count them twice.

A feature is counted by the first drop-in that receives it, in the raw form that the client sent: under its own name,
with missing values still missing. The binding is not an estimator parameter: `fit`, `clone` and pickling remove it.
Rows that are transformed while fitting or searching are therefore not counted, and an unpickled model must be bound
again.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    """Adds counting to a scikit-learn transformer; it must come before scikit-learn's class in the bases."""

    _binding: "_Binding | None" = None

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  # scikit-learn's own name
        """Fits as scikit-learn does, and removes the binding, because a new fit is another model."""
        self._binding = None
        fitted: Self = super().fit(X, y)  # type: ignore[misc]
        return fitted

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Transforms as scikit-learn does, then counts the rows; rows that raise an exception are not counted."""
        transformed = super().transform(X)  # type: ignore[misc]
        if self._binding is not None:
            self._binding.count(X)
        return transformed

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_binding"}


class OneHotEncoder(_Counting, SklearnOneHotEncoder):  # type: ignore[misc]
    """Encodes as scikit-learn's OneHotEncoder does, and counts the rows once it is bound."""


class SimpleImputer(_Counting, SklearnSimpleImputer):  # type: ignore[misc]
    """Imputes as scikit-learn's SimpleImputer does, and counts the rows once it is bound."""


@dataclass(frozen=True, slots=True)
class _Binding:
    """Connects the columns of a drop-in with the measurement that counts them.

    numeric: for each column, its position in the drop-in's input and its index among the profile's numeric features.
    categorical: the same for categorical features, and the codes of their categories.
    """

    measure: Measurement
    numeric: tuple[tuple[int, int], ...]
    categorical: tuple[tuple[int, int, Mapping[Any, int]], ...]

    def count(self, data: Any) -> None:
        """Counts (n_rows, n_columns) data; a fault in counting does not reach the caller."""
        with self.measure.contained(), self.measure.counting() as (block, series):
            if self.numeric:
                values = [numbers(column_at(data, position)) for position, _ in self.numeric]
                block.add_numeric(series, np.array(values), [member for _, member in self.numeric])
            if self.categorical:
                codes = [category_codes(column_at(data, at), vocabulary) for at, _, vocabulary in self.categorical]
                block.add_codes(series, np.array(codes), [member for _, member, _ in self.categorical])


def bind(model: Any, measure: Measurement) -> tuple[str, ...]:
    """Makes every drop-in of a fitted model count into a measurement.

    Returns the names of the features that reach no drop-in in their raw form; these are not counted.
    Raises ValueError for a model whose transformers run in other processes, because their counts would be lost.
    """
    profile = measure.profile
    numeric = {feature.name: member for member, feature in enumerate(profile.numeric)}
    categorical = {feature.name: (member, feature.vocabulary()) for member, feature in enumerate(profile.categorical)}
    for drop_in, names in _drop_ins(model, profile.order):
        # Only the first drop-in counts a feature, which is therefore taken out.
        drop_in._binding = _Binding(  # noqa: SLF001  # the drop-in is this module's own
            measure,
            tuple((at, numeric.pop(name)) for at, name in enumerate(names) if name in numeric),
            tuple((at, *categorical.pop(name)) for at, name in enumerate(names) if name in categorical),
        )
    return tuple(name for name in profile.order if name in numeric or name in categorical)


def _drop_ins(model: Any, names: Sequence[str]) -> Iterator[tuple[_Counting, Sequence[str]]]:
    """Yields each drop-in that raw features reach, with the feature names in the order of its columns."""
    names = [str(name) for name in getattr(model, "feature_names_in_", names)]
    if isinstance(model, _Counting):
        yield model, names
    elif hasattr(model, "steps"):
        # After the first step that changes them, columns are no longer the client's raw values.
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
            f"{type(model).__name__} has n_jobs={model.n_jobs}: its transformers would count in other processes, "
            "where the counts are lost; set n_jobs=None before you bind it"
        )
