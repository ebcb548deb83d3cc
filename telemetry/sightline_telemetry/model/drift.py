"""Computes drift statistics of binned counts.

These are pure functions on counts. The rules in `prometheus/` compute the same from metrics; their limits, and tests
that compare the two, are there too. Here the statistics give the floors: what was normal from window to window of the
training data.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sightline_telemetry.model.histogram import Floats

ROWS_PER_BIN = 10
"""With fewer rows per bin there is no result, because the limits hold only for large counts."""

RARE_SHARE = 0.01
"""Categories with a smaller share of the reference are compared together."""

MIN_CATEGORY_ROWS = 500
"""With fewer rows there is no result for categories."""

FLOOR_QUANTILE = 0.99
FLOOR_MARGIN = 1.1
"""A floor is 10 % above the 99th percentile of the training windows."""


def ks_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """Returns the largest gap between two binned distributions, in 0..1; 0 means identical.

    reference, current: (n_bins,) counts on the same frozen edges.
    A lower bound of the two-sample Kolmogorov-Smirnov statistic of the values themselves.
    Raises ValueError when the lengths differ; nan when either is empty.

    >>> round(ks_distance([50, 50], [80, 20]), 3)
    0.3
    """
    q, p = _counts(reference, current)
    if not q.sum() or not p.sum():
        return float("nan")
    return float(np.abs(np.cumsum(p) / p.sum() - np.cumsum(q) / q.sum()).max())


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Returns the population stability index, at least 0; 0 means identical shares.

    reference, current: (n_bins,) counts on the same frozen edges. Half a row is added to every bin, because an empty
    bin would make the index infinite, and with a small epsilon instead, the epsilon would dominate the result. Bins
    that are empty in the reference are joined with the bin below; at the lower end with the bin above.
    Raises ValueError when the lengths differ; nan when either is empty.

    >>> round(psi([50, 50], [80, 20]), 3), psi([10, 0, 30], [10, 0, 30])
    (0.406, 0.0)
    """
    q, p = joined(reference, current)
    if not q.sum() or not p.sum():
        return float("nan")
    shares_q, shares_p = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (q, p))
    return float(((shares_p - shares_q) * np.log(shares_p / shares_q)).sum())


def joined(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    """Returns both counts on the bins that are not empty in the reference, (n_filled,) each; no row is lost.

    >>> [counts.tolist() for counts in joined([0, 10, 0, 30], [1, 2, 3, 4])]
    [[10.0, 30.0], [6.0, 4.0]]
    """
    q, p = _counts(reference, current)
    filled = np.flatnonzero(q)
    if not len(filled):
        return q[:0], p[:0]
    starts = np.concatenate([[0], filled[1:]])
    return np.add.reduceat(q, starts), np.add.reduceat(p, starts)


def pooled(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    """Returns both counts with the categories that are rarer than RARE_SHARE in the reference as one, the last.

    >>> [counts.tolist() for counts in pooled([995, 2, 3], [90, 4, 6])]
    [[995.0, 5.0], [90.0, 10.0]]
    """
    q, p = _counts(reference, current)
    rare = q < RARE_SHARE * q.sum()
    if not rare.any():
        return q, p
    return np.append(q[~rare], q[rare].sum()), np.append(p[~rare], p[rare].sum())


def largest_share_change(reference: ArrayLike, current: ArrayLike) -> float:
    """Returns the largest change of a category's share, with rare ones pooled; nan when either is empty.

    >>> round(largest_share_change([50, 30, 20], [40, 30, 30]), 3)
    0.1
    """
    q, p = pooled(reference, current)
    if not q.sum() or not p.sum():
        return float("nan")
    return float(np.abs(p / p.sum() - q / q.sum()).max())


def drift_floor(statistics: Sequence[float]) -> float:
    """Returns the floor of a statistic from its values in the windows of the training data, in the order of time.

    >>> round(drift_floor([0.01 * i for i in range(101)]), 3)
    1.089
    """
    return FLOOR_MARGIN * float(np.quantile(np.asarray(statistics, dtype=np.float64), FLOOR_QUANTILE))


def _counts(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    q, p = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if q.shape != p.shape or q.ndim != 1:
        raise ValueError(
            f"both counts must be on the same bins; the reference has shape {q.shape}, the window {p.shape}"
        )
    return q, p
