"""Verifies that a fast path agrees with the pipeline before it serves: on sample rows, and on rows made to break it."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sightline_service.prediction.columns import UNSEEN_WORD, ColumnBuilder, Columns, RowColumns, RowValues
from sightline_service.prediction.fastpath.path import FEW_ROWS, FastPath
from sightline_service.prediction.fastpath.reading import NotReadableError
from sightline_service.prediction.result import Prediction
from sightline_telemetry.model.profile import Feature, NumericFeature, ReferenceProfile

TOLERANCE = 1e-12
MIXED_ROWS = 400
MAX_CATEGORIES = 200
"""Categories of one feature that are verified, at most."""

_NEAR = (0.0, 1.0, -1.0, 1e3, -1e3, 1e6, -1e6, 1e9, -1e9)
_FAR = (*_NEAR, 1e15, -1e15, 1e300, -1e300)

Predict = Callable[[Columns], Prediction]


def verify(path: FastPath, predict: Predict, profile: ReferenceProfile, sample: Columns) -> int:
    """Returns for how many rows the fast path and the pipeline agreed; it may leave some of them to the pipeline.

    predict: the pipeline. sample: the bundle's sample rows.
    Raises NotReadableError if the two differ in an outcome, or by more than 1e-12 in a number.
    """
    builder = ColumnBuilder(profile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generated rows are meant to be unusual
        try:
            rows = edge_rows(profile, sample, _FAR)
            expected = predict(RowColumns(builder, rows))
        except Exception:
            rows = edge_rows(profile, sample, _NEAR)  # some estimators refuse what is too large for float32
            try:
                expected = predict(RowColumns(builder, rows))
            except Exception as error:
                raise NotReadableError(f"the pipeline refuses the rows that would verify it: {error}") from error
        return _compare(path, builder, rows, expected)


def _compare(path: FastPath, builder: ColumnBuilder, rows: RowValues, expected: Prediction) -> int:
    n_agreed = 0
    for size in (len(rows), 32, FEW_ROWS, 1):
        for start in range(0, len(rows), size):
            columns = RowColumns(builder, rows[start : start + size])
            part = expected.part(start, start + size)
            n_agreed += _agree(path.folded(columns, 0), part)
            if size > FEW_ROWS or not path.is_folded:
                n_agreed += _agree(path.on_matrix(columns, 0), part)
    if not n_agreed:
        raise NotReadableError("it would leave every row to the pipeline")
    return n_agreed


def edge_rows(profile: ReferenceProfile, sample: Columns, far: Sequence[float] = _FAR) -> RowValues:
    """Returns the sample; then rows with one missing, unseen, rare or extreme value each; then mixtures of these."""
    generator = np.random.default_rng(0)
    base = sample.rows
    pools = [_edge_values(feature, far) for feature in profile.features]
    rows = list(base)
    for at, pool in enumerate(pools):
        for value in pool:
            row = list(base[int(generator.integers(len(base)))])
            row[at] = value
            rows.append(tuple(row))
    for _ in range(MIXED_ROWS):
        row = list(base[int(generator.integers(len(base)))])
        for at in generator.choice(len(pools), max(1, len(pools) // 2), replace=False):
            if pools[at]:
                row[at] = pools[at][int(generator.integers(len(pools[at])))]
        rows.append(tuple(row))
    return rows


def _edge_values(feature: Feature, far: Sequence[float]) -> list[Any]:
    if isinstance(feature, NumericFeature):
        values = _edge_numbers(feature, far)
    else:
        known = [value for value in feature.vocabulary() if value is not None]
        values = known[:MAX_CATEGORIES] + known[-5:]
        if feature.accepts_unseen and (not known or isinstance(known[0], str)):
            values += [UNSEEN_WORD, "", " "]
    return [*values, None] if feature.accepts_missing else values


def _edge_numbers(feature: NumericFeature, far: Sequence[float]) -> list[Any]:
    if feature.dtype == "bool":
        return [False, True]
    near = [v for bound in feature.bounds for v in (bound, np.nextafter(bound, -np.inf), np.nextafter(bound, np.inf))]
    edges = [feature.minimum, feature.maximum, feature.minimum - 1, feature.maximum + 1, feature.median]
    if feature.dtype == "int64":
        return sorted({int(value) for value in (*near, *edges, *far) if abs(value) < 2**53})
    return [float(value) for value in (*near, *edges, *far)]


def _agree(prediction: Prediction | None, expected: Prediction) -> int:
    """Returns the number of rows; 0 if they were left to the pipeline. Raises NotReadableError if any differs."""
    if prediction is None:
        return 0
    outcomes, *numbers = prediction.arrays
    if outcomes is not None and prediction.outcome_list() != expected.outcome_list():
        raise NotReadableError("it would give another outcome than the pipeline for some of the rows that verify it")
    for ours, theirs in zip(numbers, expected.arrays[1:], strict=True):
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None:
            raise NotReadableError("it would give other kinds of numbers than the pipeline")
        gap = float(np.max(np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs)), initial=0.0))
        if not gap <= TOLERANCE:
            raise NotReadableError(f"its numbers would differ from the pipeline's by {gap:.1e}, more than {TOLERANCE}")
    return len(prediction)
