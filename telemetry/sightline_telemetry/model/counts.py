"""Counts categories and buckets with numpy. Imports no OpenTelemetry.

One thread may write to an object while another reads it. A lock is held for the few microseconds of an update, so that
a reader never sees a bucket without its sum.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

_FEW = 30
"""For fewer values than this, a Python loop is cheaper than numpy's fixed cost."""

SUMMABLE = 1e150
"""Values from this size on are left out of sums: a few, sent on purpose, would make a sum infinite for ever."""


class Tallies:
    """Counts how often each code was seen, for several vocabularies side by side.

    >>> tallies = Tallies([2, 3])
    >>> tallies.add(np.array([[0, 1, 1], [2, 2, 0]]))
    >>> tallies.read()
    [[1, 2], [1, 0, 2]]
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._ends = np.cumsum([0, *sizes])
        self._offsets = self._ends[:-1, np.newaxis]
        self._counts = np.zeros(self._ends[-1], dtype=np.int64)
        self._lock = Lock()

    def add(self, codes: Codes, members: Sequence[int] | None = None) -> None:
        """Counts codes, (n_vocabularies, n_rows), each in 0..size-1 of its vocabulary.

        members: the indices of the vocabularies that the codes belong to; None for all vocabularies in order.
        """
        offsets = self._offsets if members is None else self._offsets[list(members)]
        counted = np.bincount((codes + offsets).ravel(), minlength=len(self._counts))
        with self._lock:
            self._counts += counted

    def read(self) -> list[list[int]]:
        """Returns the counts so far, as one list per vocabulary."""
        with self._lock:
            counts = self._counts.tolist()
        return [counts[a:b] for a, b in pairwise(self._ends.tolist())]


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


class BucketTable:
    """Holds histograms side by side, one per feature, each with its own explicit bounds.

    Bucket i of a histogram holds (bounds[i-1], bounds[i]], as in OpenTelemetry.
    ranges: the least and the greatest value that each histogram expects, or None; `outside` counts the values beyond.

    >>> table = BucketTable([(1.0, 2.0), (5.0,)], [(0.0, 3.0), None])
    >>> table.add(np.array([[1.0, 1.5, 9.0], [np.nan, 5.0, 6.0]]))
    >>> [snapshot.counts for snapshot in table.read()], table.missing(), table.outside()
    ([[1, 1, 1], [1, 1]], [0, 1], [(0, 1), (0, 0)])
    """

    def __init__(
        self, bounds: Sequence[Sequence[float]], ranges: Sequence[tuple[float, float] | None] | None = None
    ) -> None:
        self.bounds = tuple(_rising(each) for each in bounds)
        ranges = ranges or [None] * len(self.bounds)
        self._grids = [_Grid(each, within) for each, within in zip(self.bounds, ranges, strict=True)]
        self._ends = np.cumsum([0, *(grid.n_bins for grid in self._grids)])
        self._counts = np.zeros(self._ends[-1], dtype=np.int64)
        self._sums = np.zeros(len(self.bounds))
        self._lock = Lock()

    def add(self, values: Floats, members: Sequence[int] | None = None) -> None:
        """Counts values, (n_histograms, n_rows) floats; NaN is missing.

        Infinities, and values so large that their sum could become infinite, are counted but not summed.
        members: the indices of the histograms that the values belong to; None for all histograms in order.
        """
        indices = range(len(self.bounds)) if members is None else members
        bins = np.empty(values.shape, dtype=np.intp)
        for row, index in enumerate(indices):
            bins[row] = self._grids[index].edges.searchsorted(values[row], side="left")
            bins[row] += self._ends[index]
        counted = np.bincount(bins.ravel(), minlength=len(self._counts))
        sums = np.where(np.abs(values) < SUMMABLE, values, 0.0).sum(axis=1)
        with self._lock:
            self._counts += counted
            self._sums[list(indices)] += sums

    def read(self) -> list[Snapshot]:
        """Returns the current state of every histogram."""
        with self._lock:
            parts, sums = self._parts(), self._sums.tolist()
        counts = (grid.buckets(part) for grid, part in zip(self._grids, parts, strict=True))
        return [Snapshot(b, c, s) for b, c, s in zip(self.bounds, counts, sums, strict=True)]

    def missing(self) -> list[int]:
        """Returns how many values were NaN, per histogram."""
        with self._lock:
            return [int(part[-1]) for part in self._parts()]

    def outside(self) -> list[tuple[int, int]]:
        """Returns how many values were under and over the range of each histogram; both are 0 without a range."""
        with self._lock:
            parts = self._parts()
        return [grid.outside(part) for grid, part in zip(self._grids, parts, strict=True)]

    def _parts(self) -> list[NDArray[np.int64]]:
        return [self._counts[a:b].copy() for a, b in pairwise(self._ends.tolist())]


class _Grid:
    """Holds the edges to search in: a histogram's bounds, the ends of its range, and infinity (NaN sorts after it).

    With them a single search finds the bucket of a value, whether it is missing, and whether it is in range.
    """

    def __init__(self, bounds: tuple[float, ...], within: tuple[float, float] | None) -> None:
        under_over = () if within is None else (np.nextafter(within[0], -np.inf), within[1])
        self.edges = np.union1d([*bounds, np.inf], under_over)
        self.n_bins = len(self.edges) + 1
        self._bounds = self.edges.searchsorted([*bounds, np.inf])
        self._range = None if within is None else self.edges.searchsorted(under_over)

    def buckets(self, counts: NDArray[np.int64]) -> list[int]:
        """Converts the counts of the bins to counts of the histogram's buckets."""
        cumulative = counts.cumsum()[self._bounds].tolist()
        return [b - a for a, b in pairwise([0, *cumulative])]

    def outside(self, counts: NDArray[np.int64]) -> tuple[int, int]:
        """Returns the counts of the bins under and over the range."""
        if self._range is None:
            return 0, 0
        cumulative = counts[:-1].cumsum()
        under, within = cumulative[self._range]
        return int(under), int(cumulative[-1] - within)


class Buckets:
    """Holds one histogram, to which values are added singly.

    >>> buckets = Buckets((1.0, 2.0))
    >>> buckets.add(1.0), buckets.add(9.0), buckets.read().counts
    (0, 2, [1, 0, 1])
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = _rising(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def add(self, value: float) -> int:
        """Counts one finite value and returns the index of its bucket."""
        bucket = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value
        return bucket

    def add_all(self, values: Sequence[float]) -> None:
        """Counts several finite values."""
        if len(values) < _FEW:
            for value in values:
                self.add(value)
            return
        array = np.array(values)
        bins = np.searchsorted(np.array(self.bounds), array, side="left")
        counted = np.bincount(bins, minlength=len(self._counts)).tolist()
        with self._lock:
            self._counts = [a + b for a, b in zip(self._counts, counted, strict=True)]
            self._sum += float(array.sum())

    def read(self) -> Snapshot:
        """Returns the current state; counts and sum are of the same moment."""
        with self._lock:
            return Snapshot(self.bounds, self._counts.copy(), self._sum)


class ExemplarBuckets(Buckets):
    """Holds a histogram and, for each bucket, the exemplar of the last kept trace in it.

    If a bucket got no exemplar since the last export, the trace of the next request in it is worth keeping, so that
    every growing bucket has an exemplar.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__(bounds)
        self._exemplars: list[Exemplar | None] = [None] * (len(self.bounds) + 1)
        self._fresh = [False] * (len(self.bounds) + 1)

    def needs_exemplar(self, bucket: int) -> bool:
        """Returns True if this bucket got no exemplar since the last export."""
        return not self._fresh[bucket]

    def offer(self, bucket: int, exemplar: Exemplar) -> None:
        """Makes a kept trace the exemplar of its bucket."""
        with self._lock:
            self._exemplars[bucket] = exemplar
            self._fresh[bucket] = True

    def read_fresh(self) -> Snapshot:
        """Returns the state with the exemplars offered since the last export, and starts the next export interval."""
        with self._lock:
            fresh = tuple(e for e, is_fresh in zip(self._exemplars, self._fresh, strict=True) if e and is_fresh)
            self._start_interval()
            return Snapshot(self.bounds, self._counts.copy(), self._sum, fresh)

    def read_latest(self, *, starts_interval: bool) -> Snapshot:
        """Returns the state with the latest exemplar of every bucket, of any age.

        starts_interval: also starts the next export interval.
        """
        with self._lock:
            if starts_interval:
                self._start_interval()
            latest = tuple(exemplar for exemplar in self._exemplars if exemplar)
            return Snapshot(self.bounds, self._counts.copy(), self._sum, latest)

    def _start_interval(self) -> None:
        self._fresh = [False] * len(self._fresh)


def _rising(bounds: Sequence[float]) -> tuple[float, ...]:
    rising = tuple(float(bound) for bound in bounds)
    if any(a >= b for a, b in pairwise(rising)):
        raise ValueError(f"bounds must be strictly increasing: {rising}")
    return rising
