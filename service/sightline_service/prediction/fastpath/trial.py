"""A fast path is tried against the pipeline before it serves: on sample rows, and on rows made to break it."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sightline_service.prediction.columns import ColumnBuilder, Columns, RowColumns
from sightline_service.prediction.fastpath.path import FEW_ROWS, FastPath
from sightline_service.prediction.fastpath.reading import NotReadableError
from sightline_service.prediction.result import Prediction
from sightline_telemetry.model.counts import Floats
from sightline_telemetry.model.profile import NumericFeature, ReferenceProfile

TOLERANCE = 1e-12
MIXED_ROWS = 400
MAX_TRIED = 200
"""Categories of one feature that are tried, at most."""

_NEAR = (0.0, 1.0, -1.0, 1e3, -1e3, 1e6, -1e6, 1e9, -1e9)
_FAR = (*_NEAR, 1e15, -1e15, 1e300, -1e300)


def tried(path: FastPath, predict: Callable[[Columns], Any], profile: ReferenceProfile, sample: Columns) -> int:
    """How many rows the fast path and the pipeline agreed upon; some it may have left to the pipeline.

    predict: the pipeline, which returns outcomes, probabilities and values. sample: the bundle's sample rows.
    Raises NotReadableError if they differ in an outcome, or by more than 1e-12 in a number.
    """
    builder = ColumnBuilder(profile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows made to be strange
        try:
            rows = edge_rows(profile, sample, _FAR)
            expected = predict(RowColumns(builder, rows))
        except Exception:
            rows = edge_rows(profile, sample, _NEAR)  # some estimators refuse what no float32 can hold
            expected = _outputs(predict, RowColumns(builder, rows))
        return _compare(path, builder, rows, expected)


def _outputs(predict: Callable[[Columns], Any], columns: Columns) -> Any:
    try:
        return predict(columns)
    except Exception as error:
        raise NotReadableError(f"the pipeline refuses the rows that it is tried with: {error}") from error


def _compare(path: FastPath, builder: ColumnBuilder, rows: list[tuple[Any, ...]], expected: Any) -> int:
    agreed = 0
    for size in (len(rows), 32, FEW_ROWS, 1):
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            columns = RowColumns(builder, rows[part])
            agreed += _agree(path.folded(columns), expected, part)
            if size > FEW_ROWS or not path.is_folded:
                ready = path.on_matrix(columns)
                agreed += _agree(ready and ready[0], expected, part)
    if not agreed:
        raise NotReadableError("it would leave every row to the pipeline")
    return agreed


def edge_rows(profile: ReferenceProfile, sample: Columns, far: Sequence[float] = _FAR) -> list[tuple[Any, ...]]:
    """Sample rows; then, in each feature by itself, what is missing, unseen, rare or far away; then mixtures of it."""
    generator = np.random.default_rng(0)
    base = sample.rows
    pools: list[list[Any]] = []
    for feature in profile.features:
        if isinstance(feature, NumericFeature):
            pool = _numbers(feature, far)
        else:
            known = [value for value in feature.vocabulary() if value is not None]
            pool = known[:MAX_TRIED] + known[-5:]
            if feature.accepts_unseen and (not known or isinstance(known[0], str)):
                pool += ["a category that nobody has seen", "", " "]
        pools.append([*pool, None] if feature.accepts_missing else pool)
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


def _numbers(feature: NumericFeature, far: Sequence[float]) -> list[Any]:
    if feature.dtype == "bool":
        return [False, True]
    near = [v for bound in feature.bounds for v in (bound, np.nextafter(bound, -np.inf), np.nextafter(bound, np.inf))]
    edges = [feature.minimum, feature.maximum, feature.minimum - 1, feature.maximum + 1, feature.median]
    if feature.dtype == "int64":
        return sorted({int(value) for value in (*near, *edges, *far) if abs(value) < 2**53})
    return [float(value) for value in (*near, *edges, *far)]


def _agree(said: Prediction | None, expected: Any, part: slice) -> int:
    """How many rows were said the same; 0 if they were left to the pipeline."""
    if said is None:
        return 0
    if said.outcomes is not None and not np.array_equal(said.outcomes, expected.outcomes[part]):
        raise NotReadableError("it would say another outcome than the pipeline for some of the rows it is tried with")
    pairs: Sequence[tuple[Floats | None, Floats | None]] = (
        (said.probabilities, expected.probabilities),
        (said.values, expected.values),
    )
    for ours, theirs in pairs:
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None:
            raise NotReadableError("it would give other kinds of numbers than the pipeline")
        scale = np.maximum(1.0, np.abs(theirs[part]))
        gap = float(np.max(np.abs(ours - theirs[part]) / scale, initial=0.0))
        if not gap <= TOLERANCE:
            raise NotReadableError(f"its numbers would differ from the pipeline's by {gap:.1e}, more than {TOLERANCE}")
    return len(range(*part.indices(len(expected.outcomes if expected.outcomes is not None else expected.values))))
