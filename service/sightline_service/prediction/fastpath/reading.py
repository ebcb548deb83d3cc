"""Reads fitted preprocessing into columns, from the public attributes of scikit-learn's transformers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline

from sightline_service.prediction.fastpath.ready import (
    Call,
    Called,
    Clip,
    Column,
    Fill,
    IsMissing,
    Lookup,
    Numeric,
    Scale,
)
from sightline_telemetry.estimators import active_steps, branches, is_passed_through

MAX_TABLE = 4_000_000
"""Values in the tables of one encoder, at most (32 MB): larger ones are left to the pipeline."""

ReadyColumns = tuple[Column, ...]


class NotReadableError(Exception):
    """The preprocessing cannot be read; its text says which part of it and why."""


def read(transformer: Any, columns: ReadyColumns) -> ReadyColumns:
    """The columns behind a fitted transformer. Raises NotReadableError."""
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
    filled = tuple(c.then(Fill(s)) for c, s, kept in zip(columns, statistics, is_kept, strict=True) if kept)
    return filled + (_indicators(imputer.indicator_, columns) if imputer.add_indicator else ())


def _read_indicator(indicator: MissingIndicator, columns: ReadyColumns) -> ReadyColumns | None:
    return _indicators(indicator, columns) if pd.isna(indicator.missing_values) else None


def _indicators(indicator: MissingIndicator, columns: ReadyColumns) -> ReadyColumns:
    return tuple(columns[index].then(IsMissing()) for index in indicator.features_)


def _read_standard(scaler: preprocessing.StandardScaler, columns: ReadyColumns) -> ReadyColumns:
    means = scaler.mean_ if scaler.with_mean else [None] * len(columns)
    scales = scaler.scale_ if scaler.with_std else [None] * len(columns)
    return _scaled(columns, subtracted=means, divided=scales)


def _read_robust(scaler: preprocessing.RobustScaler, columns: ReadyColumns) -> ReadyColumns:
    centers = scaler.center_ if scaler.with_centering else [None] * len(columns)
    scales = scaler.scale_ if scaler.with_scaling else [None] * len(columns)
    return _scaled(columns, subtracted=centers, divided=scales)


def _read_max_abs(scaler: preprocessing.MaxAbsScaler, columns: ReadyColumns) -> ReadyColumns:
    return _clipped(scaler, _scaled(columns, divided=scaler.scale_), (-1.0, 1.0))


def _read_min_max(scaler: preprocessing.MinMaxScaler, columns: ReadyColumns) -> ReadyColumns:
    return _clipped(scaler, _scaled(columns, multiplied=scaler.scale_, added=scaler.min_), scaler.feature_range)


def _scaled(columns: ReadyColumns, **factors: Any) -> ReadyColumns:
    each = [dict(zip(factors, values, strict=True)) for values in zip(*factors.values(), strict=True)]
    numbers = [{name: None if v is None else float(v) for name, v in one.items()} for one in each]
    return tuple(column.then(Scale(**one)) for column, one in zip(columns, numbers, strict=True))


def _clipped(scaler: Any, columns: ReadyColumns, limits: tuple[float, float]) -> ReadyColumns:
    return tuple(column.then(Clip(*limits)) for column in columns) if getattr(scaler, "clip", False) else columns


def _read_selector(selector: Any, columns: ReadyColumns) -> ReadyColumns:
    return tuple(column for column, is_kept in zip(columns, selector.get_support(), strict=True) if is_kept)


def _read_function(transformer: preprocessing.FunctionTransformer, columns: ReadyColumns) -> ReadyColumns | None:
    return columns if transformer.func is None else None


def _read_encoder(encoder: Any, columns: ReadyColumns) -> ReadyColumns | None:
    """The values into which an encoder, which takes each column by itself, turns each category."""
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
    """ReadyColumns of a transformer that is not read but called, if all that reaches it are numbers."""
    name = type(transformer).__name__
    if any(isinstance(column, Lookup) and column.values.dtype == object for column in columns):
        raise NotReadableError(f"{name} takes categories and is not known")
    is_whole = any(isinstance(column, Numeric) and column.is_whole and not column.operations for column in columns)
    if is_whole and not _makes_floats(transformer):
        raise NotReadableError(f"{name} takes integers, with which it may compute otherwise than with floats")
    call = Call(transformer, columns)
    try:
        n_outputs = call.of(
            np.zeros((1 + max(_inputs(columns, Numeric), default=-1), 1)),
            np.zeros((1 + max(_inputs(columns, Lookup), default=-1), 1), dtype=np.intp),
        ).shape[1]
    except Exception as error:
        raise NotReadableError(f"{name} is not known, and cannot be called on numbers alone") from error
    return tuple(Called(call, index) for index in range(n_outputs))


def _makes_floats(transformer: Any) -> bool:
    """True if a transformer makes of integers what it makes of the same numbers as floats."""
    if isinstance(transformer, preprocessing.FunctionTransformer):
        function = transformer.func
        return isinstance(function, np.ufunc) and np.asarray(function(np.zeros(1, np.int64))).dtype == np.float64
    is_scikit_learns = type(transformer).__module__.startswith("sklearn.")
    return is_scikit_learns and not isinstance(transformer, ColumnTransformer | FeatureUnion)


def _inputs(columns: Sequence[Column], kind: type) -> list[int]:
    found = []
    for column in columns:
        if isinstance(column, Called):
            found += _inputs(column.call.columns, kind)
        elif isinstance(column, kind):
            found.append(column.feature)
    return found


_READERS: dict[type, Callable[[Any, ReadyColumns], ReadyColumns | None]] = {
    Pipeline: _read_pipeline,
    FeatureUnion: _read_branches,
    ColumnTransformer: _read_branches,
    SimpleImputer: _read_imputer,
    MissingIndicator: _read_indicator,
    preprocessing.StandardScaler: _read_standard,
    preprocessing.RobustScaler: _read_robust,
    preprocessing.MaxAbsScaler: _read_max_abs,
    preprocessing.MinMaxScaler: _read_min_max,
    preprocessing.FunctionTransformer: _read_function,
    preprocessing.OneHotEncoder: _read_encoder,
    preprocessing.OrdinalEncoder: _read_encoder,
    preprocessing.TargetEncoder: _read_encoder,
}
