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

    def add(self, codes: Codes) -> None:
        """Counts codes, (n_vocabularies, n_rows), each in 0..size-1 of its vocabulary."""
        counted = np.bincount((codes + self._offsets).ravel(), minlength=len(self._counts))
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
    """Histograms with explicit bounds of their own, side by side, one a feature.

    Bucket i of a histogram holds (bounds[i-1], bounds[i]], as in OpenTelemetry.

    >>> table = BucketTable([(1.0, 2.0), (5.0,)])
    >>> table.add(np.array([[1.0, 1.5, 9.0], [np.nan, 5.0, 6.0]]))
    >>> [snapshot.counts for snapshot in table.read()], table.missing()
    ([[1, 1, 1], [1, 1]], [0, 1])
    """

    def __init__(self, bounds: Sequence[Sequence[float]]) -> None:
        self.bounds = tuple(_rising(each) for each in bounds)
        self._edges = [np.array(each) for each in self.bounds]
        self._ends = np.cumsum([0, *(len(each) + 1 for each in self.bounds)])
        self._counts = np.zeros(self._ends[-1], dtype=np.int64)
        self._sums = np.zeros(len(self.bounds))
        self._missing = np.zeros(len(self.bounds), dtype=np.int64)
        self._lock = Lock()

    def add(self, values: Floats) -> None:
        """Counts values, (n_histograms, n_rows) floats; NaN is missing.

        Infinities, and values whose sum could become one, are counted but not summed.
        """
        bins = np.empty(values.shape, dtype=np.intp)
        for index, edges in enumerate(self._edges):
            bins[index] = edges.searchsorted(values[index], side="left") + self._ends[index]
        counted = np.bincount(bins.ravel(), minlength=len(self._counts))
        missing = np.isnan(values).sum(axis=1)
        counted[self._ends[1:] - 1] -= missing  # searchsorted puts NaN behind the last edge
        sums = np.where(np.abs(values) < SUMMABLE, values, 0.0).sum(axis=1)
        with self._lock:
            self._counts += counted
            self._missing += missing
            self._sums += sums

    def read(self) -> list[Snapshot]:
        """The state of every histogram at this moment."""
        with self._lock:
            counts, sums = self._counts.tolist(), self._sums.tolist()
        spans = pairwise(self._ends.tolist())
        return [Snapshot(b, counts[i:j], s) for b, (i, j), s in zip(self.bounds, spans, sums, strict=True)]

    def missing(self) -> list[int]:
        """How many values were NaN, one number a histogram."""
        with self._lock:
            return [int(count) for count in self._missing]


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

    def read(self) -> Snapshot:
        """The state at this moment, consistent in itself."""
        with self._lock:
            return Snapshot(self.bounds, self._counts.copy(), self._sum)


class DottedBuckets(Buckets):
    """Buckets that show, for each bucket, the last kept trace that landed in it.

    A bucket is *bare* while it has no exemplar since the last export: the next request that lands there is
    worth a trace, so that every bucket that grows has a dot.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__(bounds)
        self._exemplars: list[Exemplar | None] = [None] * (len(self.bounds) + 1)
        self._fresh = [False] * (len(self.bounds) + 1)

    def is_bare(self, bucket: int) -> bool:
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
