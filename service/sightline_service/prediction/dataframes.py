"""Builds the DataFrame that an estimator expects from columns: its names in its order, its types."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sightline_service.prediction.columns import Columns, Value
from sightline_telemetry.model.histogram import Floats
from sightline_telemetry.model.profile import CategoricalFeature, ReferenceProfile

_EXACT = 2.0**53
"""Up to here every integer has an exact float64."""


class FrameBuilder:
    """Builds DataFrames for one model.

    Values are what the client sent, also where training did not know them. Types are those of the training data as
    far as they can hold the values: where one is missing, integers become floats, as they do in pandas.
    """

    def __init__(self, profile: ReferenceProfile) -> None:
        numeric = {feature.name: index for index, feature in enumerate(profile.numeric)}
        self._order = profile.order
        self._numeric = [(numeric[name], name) for name in profile.order if name in numeric]
        self._convert = {feature.name: _NUMERIC[feature.dtype] for feature in profile.numeric}
        self._categorical = [(feature.name, _container(feature)) for feature in profile.categorical]

    def build(self, columns: Columns) -> pd.DataFrame:
        """Returns the rows as a new DataFrame: a step that writes into it changes nothing that is counted."""
        numeric, raw, _ = columns.arrays
        made: dict[str, Any] = {name: self._convert[name](numeric[index]) for index, name in self._numeric}
        for (name, contain), values in zip(self._categorical, raw, strict=True):
            made[name] = contain(values)
        return pd.DataFrame({name: made[name] for name in self._order}, copy=False)


def _integers(values: Floats) -> NDArray[Any]:
    is_whole = bool((np.abs(values) <= _EXACT).all()) and bool((values == np.floor(values)).all())
    return values.astype(np.int64) if is_whole else values.copy()


def _booleans(values: Floats) -> NDArray[Any]:
    return values.astype(np.bool_) if bool(((values == 0) | (values == 1)).all()) else values.copy()


_NUMERIC: dict[str, Callable[[Floats], NDArray[Any]]] = {
    "float64": np.ndarray.copy,
    "float32": partial(np.ndarray.astype, dtype=np.float32),
    "int64": _integers,
    "bool": _booleans,
}


def _container(feature: CategoricalFeature) -> Callable[[Sequence[Value | None]], Any]:
    missing = None if feature.none_is_missing else np.nan
    if feature.levels is not None:
        return partial(_categories, feature.values(feature.levels))
    if feature.dtype == "str" or (feature.dtype == "bool" and feature.missing):
        return partial(_objects, missing)
    return partial(_plain, missing, is_number=feature.dtype != "bool")


def _objects(missing: float | None, values: Sequence[Value | None]) -> Any:
    """Strings become pandas' own `str` when the frame is made of them, unless None is to be kept apart from NaN."""
    column = np.empty(len(values), dtype=object)
    if missing is None:
        column[:] = values
        return pd.Series(column, dtype=object)
    column[:] = [missing if value is None else value for value in values]
    return column


def _plain(missing: float | None, values: Sequence[Value | None], *, is_number: bool) -> Any:
    """Numbers or booleans. Where one is missing numbers become floats, and booleans objects, as in pandas."""
    if None not in values:
        return np.array(values)
    return np.array(values, dtype=np.float64) if is_number and missing is not None else _objects(missing, values)


def _categories(levels: list[Value], values: Sequence[Value | None]) -> pd.Categorical:
    known = set(levels)
    new = dict.fromkeys(value for value in values if value is not None and value not in known)
    return pd.Categorical(list[Any](values), categories=pd.Index([*levels, *new]))
