"""Counting in numpy: categories and buckets. Knows no OpenTelemetry.

Each class may be written by one thread while another reads: a lock is held for the few microseconds of an
update, so that a reader never sees a bucket without its sum.
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
"""For fewer values a loop in Python costs less than numpy's fixed cost."""

SUMMABLE = 1e150
"""Larger values are left out of sums: a few of them, sent on purpose, would make a sum infinite for ever."""


class Tallies:
    """How often each code was seen, for several vocabularies side by side.

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

        members: the indices of the vocabularies that the codes are of; without it they are of all, in their order.
        """
        offsets = self._offsets if members is None else self._offsets[list(members)]
        counted = np.bincount((codes + offsets).ravel(), minlength=len(self._counts))
        with self._lock:
            self._counts += counted

    def read(self) -> list[list[int]]:
        """The counts so far, a list a vocabulary."""
        with self._lock:
            counts = self._counts.tolist()
        return [counts[a:b] for a, b in pairwise(self._ends.tolist())]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One measured value and the trace that explains it. time_ns is Unix time."""

    value: float
    time_ns: int
    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a histogram held at one moment: (n_bounds + 1,) counts, the sum, and one exemplar a bucket at most."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)


class BucketTable:
    """Histograms with explicit bounds of their own, side by side, one per feature.

    Bucket i of a histogram holds (bounds[i-1], bounds[i]], as in OpenTelemetry.
    ranges: the least and the greatest value that each histogram expects, or None; `outside` tells how many were not.

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

        Infinities, and values whose sum could become one, are counted but not summed.
        members: the indices of the histograms that the values are of; without it they are of all, in their order.
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
        """The state of every histogram at this moment."""
        with self._lock:
            parts, sums = self._parts(), self._sums.tolist()
        counts = (grid.buckets(part) for grid, part in zip(self._grids, parts, strict=True))
        return [Snapshot(b, c, s) for b, c, s in zip(self.bounds, counts, sums, strict=True)]

    def missing(self) -> list[int]:
        """How many values were NaN, one number a histogram."""
        with self._lock:
            return [int(part[-1]) for part in self._parts()]

    def outside(self) -> list[tuple[int, int]]:
        """How many values were under and over the range of each histogram; none where it has no range."""
        with self._lock:
            parts = self._parts()
        return [grid.outside(part) for grid, part in zip(self._grids, parts, strict=True)]

    def _parts(self) -> list[NDArray[np.int64]]:
        return [self._counts[a:b].copy() for a, b in pairwise(self._ends.tolist())]


class _Grid:
    """Edges to search in: a histogram's bounds, the ends of its range, and infinity, behind which is NaN alone.

    So that one search answers three questions: which bucket, missing or not, in range or not.
    """

    def __init__(self, bounds: tuple[float, ...], within: tuple[float, float] | None) -> None:
        under_over = () if within is None else (np.nextafter(within[0], -np.inf), within[1])
        self.edges = np.union1d([*bounds, np.inf], under_over)
        self.n_bins = len(self.edges) + 1
        self._bounds = self.edges.searchsorted([*bounds, np.inf])
        self._range = None if within is None else self.edges.searchsorted(under_over)

    def buckets(self, counts: NDArray[np.int64]) -> list[int]:
        """What the bins count, in the histogram's own buckets."""
        cumulative = counts.cumsum()[self._bounds].tolist()
        return [b - a for a, b in pairwise([0, *cumulative])]

    def outside(self, counts: NDArray[np.int64]) -> tuple[int, int]:
        """What the bins count under and over the range."""
        if self._range is None:
            return 0, 0
        cumulative = counts[:-1].cumsum()
        under, within = cumulative[self._range]
        return int(under), int(cumulative[-1] - within)


class Buckets:
    """One histogram that takes one value at a time.

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
        """Counts some finite values."""
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
        """The state at this moment, consistent in itself."""
        with self._lock:
            return Snapshot(self.bounds, self._counts.copy(), self._sum)


class ExemplarBuckets(Buckets):
    """Buckets that show, for each bucket, the last kept trace that landed in it.

    A bucket is *bare* while it has no exemplar since the last export: the next request that lands there is
    worth a trace, so that every bucket that grows has an exemplar.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__(bounds)
        self._exemplars: list[Exemplar | None] = [None] * (len(self.bounds) + 1)
        self._fresh = [False] * (len(self.bounds) + 1)

    def needs_exemplar(self, bucket: int) -> bool:
        """True if no exemplar was offered for this bucket since the last export."""
        return not self._fresh[bucket]

    def offer(self, bucket: int, exemplar: Exemplar) -> None:
        """Makes a kept trace the exemplar of its bucket."""
        with self._lock:
            self._exemplars[bucket] = exemplar
            self._fresh[bucket] = True

    def read_fresh(self) -> Snapshot:
        """The state, with only the exemplars offered since the last export; starts the next interval."""
        with self._lock:
            fresh = tuple(e for e, is_fresh in zip(self._exemplars, self._fresh, strict=True) if e and is_fresh)
            self._start_interval()
            return Snapshot(self.bounds, self._counts.copy(), self._sum, fresh)

    def read_latest(self, *, starts_interval: bool) -> Snapshot:
        """The state, with the latest exemplar of every bucket, however old."""
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
        raise ValueError(f"bounds must rise from one to the next: {rising}")
    return rising
