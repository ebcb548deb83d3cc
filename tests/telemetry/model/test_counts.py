"""Counting equals a naive loop, bucket by bucket, from several threads too."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_telemetry.model.counts import Buckets, BucketTable, Exemplar, ExemplarBuckets, Tallies

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1.0, 2.0, 5.0])


def naive(bounds: tuple[float, ...], values: list[float]) -> list[int]:
    """Counts by a loop over values and bounds; bucket i holds (bounds[i-1], bounds[i]]."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        if value == value:  # not NaN
            counts[sum(bound < value for bound in bounds)] += 1
    return counts


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1))
def test_a_table_counts_as_a_loop_does(rows: list[tuple[float, float]]) -> None:
    """Each histogram of a table equals a naive loop; NaN is missing and nothing else."""
    table = BucketTable([(1.0, 2.0, 5.0), (-1.0,)])
    table.add(np.array(rows).T)
    columns = [list(column) for column in zip(*rows, strict=True)]
    assert table.read()[0].counts == naive((1.0, 2.0, 5.0), columns[0])
    assert table.read()[1].counts == naive((-1.0,), columns[1])
    assert table.missing() == [sum(value != value for value in column) for column in columns]


def test_a_value_on_a_bound_is_below_it() -> None:
    """A value exactly on a bound is counted in the bucket that ends there, as OpenTelemetry defines it."""
    assert [Buckets((1.0, 2.0)).add(value) for value in (1.0, 1.0000001, 2.0, 2.1)] == [0, 1, 1, 2]


def test_a_table_of_no_rows_and_no_bounds() -> None:
    """No rows change nothing; a histogram without bounds has one bucket."""
    table = BucketTable([()])
    table.add(np.empty((1, 0)))
    assert table.read()[0].counts == [0]
    table.add(np.array([[3.0, np.nan]]))
    assert (table.read()[0].counts, table.read()[0].sum, table.missing()) == ([1], 3.0, [1])


def test_sums_stay_finite() -> None:
    """Infinities and enormous values are counted and not summed."""
    table = BucketTable([(0.0,)])
    table.add(np.array([[1.0, 2.5, np.inf, -np.inf, 1.7e308, 1.7e308]]))
    assert (table.read()[0].counts, table.read()[0].sum) == ([1, 5], 3.5)


def test_bounds_must_rise() -> None:
    """Bounds that do not rise are refused with their values."""
    with pytest.raises(ValueError, match=r"bounds must be strictly increasing.*\(1\.0, 1\.0\)"):
        Buckets((1, 1))


def test_tallies_count_side_by_side() -> None:
    """10,000 codes in each of three vocabularies are counted as numpy's unique counts them."""
    random = np.random.default_rng(1)
    sizes = (2, 5, 90)
    codes = np.array([random.integers(0, size, 10_000) for size in sizes])
    tallies = Tallies(sizes)
    tallies.add(codes[:, :4000])
    tallies.add(codes[:, 4000:])
    assert tallies.read() == [np.bincount(row, minlength=size).tolist() for row, size in zip(codes, sizes, strict=True)]


def test_threads_lose_nothing() -> None:
    """Eight threads that add while another reads lose no count, and no reader sees a bucket without its sum."""
    buckets = Buckets((1.0,))

    def add() -> None:
        for _ in range(2000):
            buckets.add(2.0)

    def read() -> bool:
        return all((snapshot := buckets.read()).sum == 2.0 * snapshot.count for _ in range(500))

    with ThreadPoolExecutor(9) as threads:
        adding = [threads.submit(add) for _ in range(8)]
        assert threads.submit(read).result()
        for each in adding:
            each.result()
    assert buckets.read().counts == [0, 16_000]


def test_a_bucket_is_bare_until_it_has_a_dot() -> None:
    """An exemplar covers its own bucket, until an export starts the next interval."""
    buckets = ExemplarBuckets((1.0,))
    first, second = Exemplar(0.5, 1, 2, 3), Exemplar(0.7, 4, 5, 6)
    assert buckets.needs_exemplar(buckets.add(0.5))
    buckets.offer(0, first)
    assert (buckets.needs_exemplar(0), buckets.needs_exemplar(1)) == (False, True)
    assert buckets.read_fresh().exemplars == (first,)
    assert buckets.needs_exemplar(0)
    assert buckets.read_fresh().exemplars == ()
    assert buckets.read_latest(starts_interval=False).exemplars == (first,)
    buckets.offer(0, second)
    assert buckets.read_latest(starts_interval=False).exemplars == (second,)
    assert not buckets.needs_exemplar(0)
    buckets.read_latest(starts_interval=True)
    assert buckets.needs_exemplar(0)
