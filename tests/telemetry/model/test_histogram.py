"""Sorting values into bins equals a naive loop, bucket by bucket."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_telemetry.model.histogram import Bins

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1.0, 2.0, 5.0])

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def naive(bounds: tuple[float, ...], values: list[float]) -> list[int]:
    """Counts by a loop over values and bounds; bucket i holds (bounds[i-1], bounds[i]]."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        if value == value:  # not NaN
            counts[sum(bound < value for bound in bounds)] += 1
    return counts


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1))
def test_bins_count_as_a_loop_does(rows: list[tuple[float, float]]) -> None:
    """Each histogram beside others equals a naive loop; NaN is missing and nothing else."""
    bins = Bins([(1.0, 2.0, 5.0), (-1.0,)])
    values = np.array(rows).T
    first, second = bins.snapshots(values)
    columns = [list(column) for column in zip(*rows, strict=True)]
    assert first.counts == naive((1.0, 2.0, 5.0), columns[0])
    assert second.counts == naive((-1.0,), columns[1])
    assert bins.sort(values).missing.tolist() == [sum(value != value for value in column) for column in columns]


@given(st.lists(NUMBERS), st.tuples(FINITE, FINITE).map(sorted))
def test_ranges_are_those_of_a_loop(column: list[float], ends: list[float]) -> None:
    """Values under the least and over the greatest expected value are counted; NaN and both ends are not."""
    binned = Bins([(1.0, 2.0, 5.0)], [(ends[0], ends[1])]).sort(np.array([column]).reshape(1, -1))
    assert binned.low.tolist() == [sum(value < ends[0] for value in column)]
    assert binned.high.tolist() == [sum(value > ends[1] for value in column)]


def test_some_histograms_are_sorted_alone() -> None:
    """Values of the second and third of three histograms are counted there, and the first stays empty."""
    bins = Bins([(1.0,), (1.0,), (1.0,)])
    binned = bins.sort(np.array([[0.5, np.nan], [2.0, 3.0]]), [1, 2])
    assert binned.buckets.tolist() == [0, 0, 1, 0, 0, 2]
    assert (binned.sums.tolist(), binned.missing.tolist()) == ([0.0, 0.5, 5.0], [0, 1, 0])


def test_a_value_on_a_bound_is_below_it() -> None:
    """A value exactly on a bound is counted in the bucket that ends there, as OpenTelemetry defines it."""
    found = [Bins([(1.0, 2.0)]).sort(np.array([[value]])).buckets.argmax() for value in (1.0, 1.0000001, 2.0, 2.1)]
    assert found == [0, 1, 1, 2]


def test_no_rows_and_no_bounds() -> None:
    """No rows count nothing; a histogram without bounds has one bucket."""
    bins = Bins([()])
    assert bins.snapshots(np.empty((1, 0)))[0].counts == [0]
    values = np.array([[3.0, np.nan]])
    (seen,) = bins.snapshots(values)
    assert (seen.counts, seen.sum, bins.sort(values).missing.tolist()) == ([1], 3.0, [1])


def test_sums_stay_finite() -> None:
    """Infinities and enormous values are counted and not summed."""
    (seen,) = Bins([(0.0,)]).snapshots(np.array([[1.0, 2.5, np.inf, -np.inf, 1.7e308, 1.7e308]]))
    assert (seen.counts, seen.sum) == ([1, 5], 3.5)


def test_bounds_must_rise() -> None:
    """Bounds that do not rise are refused with their values."""
    with pytest.raises(ValueError, match=r"bounds must be strictly increasing.*\(1\.0, 1\.0\)"):
        Bins([(1, 1)])
