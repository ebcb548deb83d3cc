"""Reads fitted preprocessing into columns, from the public attributes of scikit-learn's transformers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline

from sightline_service.prediction.fastpath import ready
from sightline_service.prediction.fastpath.ready import Column, Lookup, Numeric
from sightline_telemetry.estimators import active_steps, branches, is_passed_through

MAX_TABLE = 4_000_000
"""Values in the tables of one encoder, at most (32 MB): larger ones are left to the pipeline."""

ReadyColumns = tuple[Column, ...]


class NotReadableError(Exception):
    """The preprocessing cannot be read; its text says which part of it and why."""


def read(transformer: Any, columns: ReadyColumns) -> ReadyColumns:
    """Returns the columns behind a fitted transformer. Raises NotReadableError."""
    if isinstance(transformer, str) and transformer == "drop":
        return ()
    if is_passed_through(transformer):
        return columns
    reader = _READERS.get(type(transformer))
    if reader is None and isinstance(transformer, SelectorMixin):
        reader = _read_selector
    made = reader(transformer, columns) if reader is not None else None
    return made if made is not None else _call(transformer, columns)


def _read_pipeline(pipeline: Pipeline, columns: ReadyColumns) -> ReadyColumns:
    for _, step in active_steps(pipeline):
        columns = read(step, columns)
    return columns


def _read_branches(transformer: Any, columns: ReadyColumns) -> ReadyColumns | None:
    """Reads a ColumnTransformer or a FeatureUnion; a ColumnTransformer's remainder comes last, as in its output."""
    if transformer.transformer_weights:
        return None
    return tuple(
        made
        for _, part, positions in branches(transformer, range(len(columns))) or ()
        for made in read(part, tuple(columns[position] for position in positions))
    )


def _read_imputer(imputer: SimpleImputer, columns: ReadyColumns) -> ReadyColumns | None:
    if not pd.isna(imputer.missing_values):
        return None
    statistics = imputer.statistics_
    is_kept = ~pd.isna(statistics) | bool(imputer.keep_empty_features)
    if np.any(pd.isna(statistics) & is_kept):
        return None
    filled = tuple(c.then(ready.Fill(s)) for c, s, kept in zip(columns, statistics, is_kept, strict=True) if kept)
    return filled + (_indicators(imputer.indicator_, columns) if imputer.add_indicator else ())


def _read_indicator(indicator: MissingIndicator, columns: ReadyColumns) -> ReadyColumns | None:
    return _indicators(indicator, columns) if pd.isna(indicator.missing_values) else None


def _indicators(indicator: MissingIndicator, columns: ReadyColumns) -> ReadyColumns:
    return tuple(columns[index].then(ready.IsMissing()) for index in indicator.features_)


def _read_scaler(scaler: Any, columns: ReadyColumns) -> ReadyColumns:
    for ufunc, attribute in _SCALERS[type(scaler)]:
        numbers = getattr(scaler, attribute)
        if numbers is not None and (attribute != "mean_" or scaler.with_mean):
            columns = tuple(c.then(ready.Arithmetic(ufunc, float(n))) for c, n in zip(columns, numbers, strict=True))
    if getattr(scaler, "clip", False):
        low, high = getattr(scaler, "feature_range", (-1.0, 1.0))
        at_least, at_most = ready.Arithmetic(np.maximum, low), ready.Arithmetic(np.minimum, high)
        columns = tuple(column.then(at_least).then(at_most) for column in columns)
    return columns


def _read_selector(selector: Any, columns: ReadyColumns) -> ReadyColumns:
    return tuple(column for column, is_kept in zip(columns, selector.get_support(), strict=True) if is_kept)


def _read_function(transformer: preprocessing.FunctionTransformer, columns: ReadyColumns) -> ReadyColumns | None:
    return columns if transformer.func is None else None


def _read_encoder(encoder: Any, columns: ReadyColumns) -> ReadyColumns | None:
    """Returns the values into which an encoder, which takes each column by itself, turns each category."""
    if not all(isinstance(column, Lookup) for column in columns):
        return None
    tables = [column.values for column in columns if isinstance(column, Lookup)]
    sizes = [len(table) for table in tables]
    base = np.array([table[0] for table in tables], dtype=object)
    varied = np.repeat(base[np.newaxis], sum(sizes), axis=0)
    starts = np.cumsum([0, *sizes])
    for index, table in enumerate(tables):
        varied[starts[index] : starts[index + 1], index] = table
    if len(varied) * sum(sizes) > MAX_TABLE:
        raise NotReadableError(f"{type(encoder).__name__} knows {sum(sizes):,} categories, too many for a table")
    encoded = _encoded(encoder, varied, base)
    made: list[Column] = []
    for output in range(encoded.shape[1]):
        parts = [encoded[starts[index] : starts[index + 1], output] for index in range(len(tables))]
        moved = [
            index
            for index, part in enumerate(parts)
            if not np.array_equal(part, np.full_like(part, part[0]), equal_nan=True)
        ]
        if len(moved) > 1:
            raise NotReadableError(f"{type(encoder).__name__} makes a column of several inputs")
        index = moved[0] if moved else 0
        made.append(Lookup(columns[index].feature, parts[index]))  # type: ignore[union-attr]
    return tuple(made)


def _encoded(encoder: Any, varied: Any, base: Any) -> Any:
    """(n_rows, n_outputs); rows that the encoder refuses, which the schema refuses too, are as the base's."""

    def encode(rows: Any) -> Any:
        names = getattr(encoder, "feature_names_in_", None)
        made = encoder.transform(rows if names is None else pd.DataFrame(rows, columns=names))
        return np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)

    try:
        return encode(varied)
    except ValueError:
        refused = np.zeros(len(varied), dtype=bool)
        for row in range(len(varied)):
            try:
                encode(varied[row : row + 1])
            except ValueError:
                refused[row] = True
        varied[refused] = base
        return encode(varied)


def _call(transformer: Any, columns: ReadyColumns) -> ReadyColumns:
    """Returns the columns of a transformer that is not read but called, if all that reaches it are numbers."""
    name = type(transformer).__name__
    if any(isinstance(column, Lookup) and column.values.dtype == object for column in columns):
        raise NotReadableError(f"{name} takes categories and is not known")
    is_whole = any(isinstance(column, Numeric) and column.is_whole and not column.operations for column in columns)
    if is_whole and not _makes_floats(transformer):
        raise NotReadableError(f"{name} takes integers, with which it may compute otherwise than with floats")
    call = ready.Call(transformer, columns)
    n_inputs = 1 + max((column.feature for column in _read_inputs(columns)), default=-1)
    try:
        n_outputs = call.of(np.zeros((n_inputs, 1)), np.zeros((n_inputs, 1), dtype=np.intp)).shape[1]
    except Exception as error:
        raise NotReadableError(f"{name} is not known, and cannot be called on numbers alone") from error
    return tuple(ready.Called(call, index) for index in range(n_outputs))


def _makes_floats(transformer: Any) -> bool:
    """Returns True if a transformer makes of integers what it makes of the same numbers as floats."""
    if isinstance(transformer, preprocessing.FunctionTransformer):
        function = transformer.func
        return isinstance(function, np.ufunc) and np.asarray(function(np.zeros(1, np.int64))).dtype == np.float64
    is_scikit_learns = type(transformer).__module__.startswith("sklearn.")
    return is_scikit_learns and not isinstance(transformer, ColumnTransformer | FeatureUnion)


def _read_inputs(columns: Sequence[Column]) -> Iterator[Numeric | Lookup]:
    """Yields the inputs of some columns, those of the transformers that are called among them."""
    for column in columns:
        if isinstance(column, ready.Called):
            yield from _read_inputs(column.call.columns)
        else:
            yield column


_SCALERS: dict[type, tuple[tuple[np.ufunc, str], ...]] = {
    preprocessing.StandardScaler: ((np.subtract, "mean_"), (np.divide, "scale_")),
    preprocessing.RobustScaler: ((np.subtract, "center_"), (np.divide, "scale_")),
    preprocessing.MaxAbsScaler: ((np.divide, "scale_"),),
    preprocessing.MinMaxScaler: ((np.multiply, "scale_"), (np.add, "min_")),
}
"""What a scaler does to each column, in its own order, so that the results are the same to the last bit."""

_READERS: dict[type, Callable[[Any, ReadyColumns], ReadyColumns | None]] = {
    Pipeline: _read_pipeline,
    FeatureUnion: _read_branches,
    ColumnTransformer: _read_branches,
    SimpleImputer: _read_imputer,
    MissingIndicator: _read_indicator,
    **dict.fromkeys(_SCALERS, _read_scaler),
    preprocessing.FunctionTransformer: _read_function,
    preprocessing.OneHotEncoder: _read_encoder,
    preprocessing.OrdinalEncoder: _read_encoder,
    preprocessing.TargetEncoder: _read_encoder,
}
