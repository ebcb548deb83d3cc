"""Sorts values into the bins of histograms, many features at once. Imports no OpenTelemetry."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nextafter

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Integers = NDArray[np.int64]

SUMMABLE = 1e150
"""Values from this size on are left out of sums: a few, sent on purpose, would make a sum infinite for ever."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """Holds one measured value and the trace that it comes from. time_ns: Unix time."""

    value: float
    time_ns: int
    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Holds a histogram's state at one moment: (n_bounds + 1,) counts, the sum, and at most one exemplar per bucket."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def count(self) -> int:
        """Returns how many values were counted."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Binned:
    """Holds values that were sorted into the bins of n_histograms.

    buckets: the counts of all histograms, one histogram after the other.
    sums: (n_histograms,) of the values. missing: (n_histograms,) values that were NaN.
    low, high: (n_histograms,) values under and over the range of each histogram; 0 without a range.
    """

    buckets: Integers
    sums: Floats
    missing: Integers
    low: Integers
    high: Integers


class Bins:
    """Histograms side by side, one per feature, each with its own explicit bounds.

    Bucket i of a histogram holds (bounds[i-1], bounds[i]], as in OpenTelemetry.
    ranges: the least and the greatest value that each histogram expects, or None.

    >>> bins = Bins([(1.0, 2.0), (5.0,)], [(0.0, 3.0), None])
    >>> binned = bins.sort(np.array([[1.0, 1.5, 9.0], [np.nan, 5.0, 6.0]]))
    >>> binned.buckets.tolist(), binned.missing.tolist(), binned.high.tolist()
    ([1, 1, 1, 1, 1], [0, 1], [1, 0])
    """

    def __init__(
        self, bounds: Sequence[Sequence[float]], ranges: Sequence[tuple[float, float] | None] | None = None
    ) -> None:
        self.bounds = tuple(rising(each) for each in bounds)
        self._grids = [
            _Grid(each, within) for each, within in zip(self.bounds, ranges or [None] * len(bounds), strict=True)
        ]
        self._starts = np.cumsum([0, *(len(grid.edges) + 1 for grid in self._grids)])
        offset = list(zip(self._grids, self._starts.tolist(), strict=False))
        self._spans = [
            np.array([(first + at, last + at) for grid, at in offset for first, last in spans(grid)], dtype=np.intp)
            .reshape(-1, 2)
            .T
            for spans in (_Grid.buckets, _Grid.missing, _Grid.low, _Grid.high)
        ]

    def sort(self, values: Floats, members: Sequence[int] | None = None) -> Binned:
        """Sorts (n_histograms, n_rows) values; NaN is missing.

        Infinities, and values so large that their sum could become infinite, are counted but not summed.
        members: the indices of the histograms that the values belong to; None for all histograms in order.
        """
        indices = range(len(self.bounds)) if members is None else members
        found = np.empty(values.shape, dtype=np.intp)
        for row, index in enumerate(indices):
            found[row] = self._grids[index].edges.searchsorted(values[row], side="left")
            found[row] += self._starts[index]
        below = np.zeros(self._starts[-1] + 1, dtype=np.int64)
        np.cumsum(np.bincount(found.ravel(), minlength=self._starts[-1]), out=below[1:])
        sums = np.zeros(len(self.bounds))
        sums[list(indices)] = np.where(np.abs(values) < SUMMABLE, values, 0.0).sum(axis=1)
        buckets, missing, low, high = (below[last] - below[first] for first, last in self._spans)
        return Binned(buckets, sums, missing, low, high)

    def snapshots(self, values: Floats) -> list[Snapshot]:
        """Returns a histogram of each row of (n_histograms, n_rows) values."""
        binned = self.sort(values)
        ends = np.cumsum([0, *(len(bounds) + 1 for bounds in self.bounds)]).tolist()
        parts = [binned.buckets[first:last].tolist() for first, last in pairwise(ends)]
        return [Snapshot(b, c, s) for b, c, s in zip(self.bounds, parts, binned.sums.tolist(), strict=True)]


Span = tuple[int, int]


class _Grid:
    """The edges to search in: a histogram's bounds, the ends of its range, and infinity (NaN sorts after it).

    With them a single search finds the bucket of a value, whether it is missing, and whether it is in range. The bin
    after the last edge holds NaN. Each count that is wanted is the sum of a span of bins.
    """

    def __init__(self, bounds: tuple[float, ...], within: tuple[float, float] | None) -> None:
        under_over = () if within is None else (nextafter(within[0], -np.inf), within[1])
        self.edges = np.union1d([*bounds, np.inf], under_over)
        self._bounds = self.edges.searchsorted([*bounds, np.inf]).tolist()
        self._range = None if within is None else self.edges.searchsorted(under_over).tolist()

    def buckets(self) -> list[Span]:
        """Returns the bins of each bucket, as first and one after the last."""
        return list(pairwise([0, *(position + 1 for position in self._bounds)]))

    def missing(self) -> list[Span]:
        """Returns the bin of NaN."""
        return [(len(self.edges), len(self.edges) + 1)]

    def low(self) -> list[Span]:
        """Returns the bins under the range; none without a range."""
        return [(0, 0)] if self._range is None else [(0, self._range[0] + 1)]

    def high(self) -> list[Span]:
        """Returns the bins over the range; none without a range."""
        return [(0, 0)] if self._range is None else [(self._range[1] + 1, len(self.edges))]


def rising(bounds: Sequence[float]) -> tuple[float, ...]:
    """Returns bounds as floats. Raises ValueError if they are not strictly increasing."""
    found = tuple(float(bound) for bound in bounds)
    if any(a >= b for a, b in pairwise(found)):
        raise ValueError(f"bounds must be strictly increasing: {found}")
    return found
