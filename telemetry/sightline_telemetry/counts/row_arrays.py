"""Predicted rows as arrays: what an event carries of them, ready to be counted."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.events.layout import RawRows, RowLayout


def row_dtype(layout: RowLayout) -> "np.dtype[Any]":
    """Returns the dtype of rows in an event, as `layout.struct` writes them.

    Fields: numeric (n_numeric,), codes (n_codes,), then outcome and probabilities (n_probabilities,), or value.
    """
    inputs = [("numeric", "<f8", (layout.n_numeric,)), ("codes", "<u4", (layout.n_codes,))]
    if layout.has_outcomes:
        return np.dtype([*inputs, ("outcome", "<u4"), ("probabilities", "<f8", (layout.n_probabilities,))])
    return np.dtype([*inputs, ("value", "<f8")])


def row_array(model: DescribedModel, parts: Sequence[RawRows | bytes]) -> NDArray[Any]:
    """Returns the rows of some requests of a model as one array of its `row_dtype`; rows that were raw come first.

    Raises ValueError or TypeError for rows that are not the model's.
    """
    dtype = row_dtype(model.row_layout)
    written = np.frombuffer(b"".join([part for part in parts if isinstance(part, bytes)]), dtype)
    raw = [part for part in parts if not isinstance(part, bytes)]
    return np.concatenate([_looked_up(model, raw, dtype), written]) if raw else written


def _looked_up(model: DescribedModel, parts: Sequence[RawRows], dtype: "np.dtype[Any]") -> NDArray[Any]:
    layout, rows = model.row_layout, [row for part in parts for row in part.rows]
    found = np.empty(len(rows), dtype)
    if not rows:
        return found
    columns = [*zip(*rows, strict=True)]
    if len(columns) != layout.n_numeric + layout.n_codes:
        raise ValueError(f"rows of {len(columns)} values, {model.id.name} has {layout.n_numeric + layout.n_codes}")
    numeric = np.array(columns[: layout.n_numeric], dtype=np.float64)  # a value that is missing becomes NaN
    found["numeric"] = numeric.reshape(layout.n_numeric, len(rows)).T
    for index, (codes, column) in enumerate(zip(model.codes, columns[layout.n_numeric :], strict=True)):
        found["codes"][:, index] = [codes[value] for value in column]
    if not layout.has_outcomes:
        found["value"] = [*chain.from_iterable(part.values or () for part in parts)]
        return found
    found["outcome"] = [*chain.from_iterable(part.outcomes or () for part in parts)]
    if layout.n_probabilities:
        found["probabilities"] = [*chain.from_iterable(part.probabilities or () for part in parts)]
    return found
