"""Reads training data from a user's CSV or Parquet file, and the columns of it that a model was fitted on."""

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline_service.errors import BundleError
from sightline_service.prediction.inspection import Inputs, feature_names, walk

CSV, PARQUET = (".csv",), (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a model was fitted on.

    features: (n_rows, n_features), labels: (n_rows,), times: (n_rows,) datetimes or None.
    unused: further columns of the file.
    """

    features: pd.DataFrame
    labels: "pd.Series[Any]"
    times: "pd.Series[Any] | None"
    unused: tuple[str, ...]


def read_training_data(path: Path, model: Any, target: str, time: str | None) -> TrainingData:
    """Reads the training data of a fitted model. Raises BundleError for data that does not fit it."""
    header = _header(path)
    beside = [name for name in (target, time) if name is not None]
    for name in beside:
        if name not in header:
            raise BundleError(f"{path} has no column {name!r}; it has {_listed(header)}")
    names = _model_columns(path, model, header, beside)
    if target in names:
        raise BundleError(f"the model was fitted on the column {target!r} itself, which --target names")
    inputs = walk(model, names)
    words = {name: inputs.known[name] for name in inputs.words} | _class_words(model, target)
    try:
        table = _read_csv(path, words) if path.suffix in CSV else _read_parquet(path)
    except (ValueError, OSError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if table.empty:
        raise BundleError(f"{path} has no rows")
    features = table[names]
    if path.suffix in CSV:
        features = _with_categories(features, model, inputs)
    times = None if time is None else _times(table[time])
    unused = tuple(name for name in header if name not in (*names, *beside))
    return TrainingData(features, table[target], times, unused)


def _model_columns(path: Path, model: Any, header: list[str], beside: list[str]) -> list[str]:
    """Returns the names of the features, in the model's order."""
    names = feature_names(model)
    if names is None:
        names = [name for name in header if name not in beside]
        n_fitted = getattr(model, "n_features_in_", len(names))
        if n_fitted != len(names):
            what = f"{len(names)} columns beside {' and '.join(map(repr, beside))}: {_listed(names)}"
            raise BundleError(f"the model was fitted on {n_fitted} columns without names, and {path} has {what}")
    if "" in names:
        raise BundleError("the model was fitted on a column without a name; name it and fit again")
    if lacking := [name for name in names if name not in header]:
        raise BundleError(f"{path} lacks columns that the model was fitted on: {_listed(lacking)}")
    return names


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise BundleError(f"there is no data at {path}")
    if path.suffix in CSV:
        header = _checked_csv(path)
    elif path.suffix in PARQUET:
        header = _parquet_columns(path)
    else:
        raise BundleError(f"{path} ends in {path.suffix!r}; data is read from {', '.join((*CSV, *PARQUET))}")
    if twice := [name for name in header if header.count(name) > 1]:
        raise BundleError(f"{path} has the column {twice[0]!r} twice; rename one of them")
    return header


def _checked_csv(path: Path) -> list[str]:
    """The header of a CSV in which every line has as many values; pandas would fill short lines in silence."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next((values for values in lines if values), [])
            for values in lines:
                if values and len(values) != len(header):
                    what = f"{len(values)} values where the header has {len(header)}"
                    raise BundleError(f"{path} is broken: line {lines.line_num} has {what}")
    except csv.Error as error:
        raise BundleError(f"{path} is broken: line {lines.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 (byte {error.start}); save it in UTF-8") from error
    if not header:
        raise BundleError(f"{path} is empty")
    return header


def _read_csv(path: Path, words: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """words: columns that are strings to the model, and those that it knows: `NA` is missing only where it is none."""
    table = pd.read_csv(path, encoding="utf-8-sig", dtype=dict.fromkeys(words, str), low_memory=False)
    if with_gaps := [name for name in words if table[name].isna().any()]:
        spelt = pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False, usecols=with_gaps)
        for name in with_gaps:
            table[name] = table[name].where(~spelt[name].isin(words[name]), spelt[name])
    return table


def _class_words(model: Any, target: str) -> dict[str, tuple[str, ...]]:
    """The target, if the classes of the model are strings, and what they are."""
    classes = np.asarray(getattr(model, "classes_", [])).tolist()
    return {target: tuple(classes)} if classes and all(isinstance(each, str) for each in classes) else {}


def _parquet_columns(path: Path) -> list[str]:
    try:
        from pyarrow import ArrowException, parquet  # an extra: the service does without
    except ModuleNotFoundError as error:
        raise BundleError(
            "reading Parquet needs pyarrow: pip install 'sightline-service[parquet]', or give a CSV"
        ) from error
    try:
        return [str(name) for name in parquet.read_schema(path).names]
    except (ArrowException, OSError) as error:
        raise BundleError(f"{path} is not Parquet: {error}") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.reset_index(drop=table.index.names == [None])  # a named index was a column when the model was fitted


def _with_categories(features: pd.DataFrame, model: Any, inputs: Inputs) -> pd.DataFrame:
    """A CSV has no categories: words that no encoder reads are made such if the model refuses them otherwise."""
    words = [name for name in features if features[name].dtype == "str" and name not in inputs.words]
    if not words or _is_taken(model, features.head(1)):
        return features
    levelled = features.astype(dict.fromkeys(words, "category"))
    return levelled if _is_taken(model, levelled.head(1)) else features


def _is_taken(model: Any, rows: pd.DataFrame) -> bool:
    try:
        model.predict(rows)
    except Exception:
        return False
    return True


def _times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_numeric_dtype(column):
        raise BundleError(f"the column {column.name!r} holds numbers, not times like 2026-11-25T10:00")
    try:
        # Other forms leave it open which number is the day and which the month.
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        what = "not of times as ISO 8601 writes them, like 2026-11-25T10:00"
        raise BundleError(f"the column {column.name!r} is {what}: {error}") from error
    if times.isna().any():
        raise BundleError(f"the time is missing in {int(times.isna().sum())} rows; leave them out or fill them in")
    return times


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
