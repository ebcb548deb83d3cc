"""The drift statistics: what they are for identical counts, at the edges, and beside those of SciPy."""

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from sightline_telemetry.model import drift

Counts = NDArray[np.int64]

_counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=20).map(np.array)


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Counts, Counts]:
    """Counts of a reference and of a window on the same bins, neither empty."""
    size = draw(st.integers(2, 20))
    some = st.lists(st.integers(0, 10_000), min_size=size, max_size=size).filter(any).map(np.array)
    return draw(some), draw(some)


@given(_counts.filter(lambda counts: counts.sum() > 0))
def test_identical_counts_have_no_distance(counts: Counts) -> None:
    """The distance of a distribution from itself is 0, for every statistic."""
    assert drift.ks_distance(counts, counts) == 0
    assert drift.psi(counts, counts) == 0
    assert drift.largest_share_change(counts, counts) == 0


@given(_pairs())
def test_statistics_stay_in_their_range(pair: tuple[Counts, Counts]) -> None:
    """KS and changes of shares lie in 0..1, PSI is finite and not negative, whatever bins are empty."""
    assert 0 <= drift.ks_distance(*pair) <= 1 + 1e-12
    assert 0 <= drift.largest_share_change(*pair) <= 1
    assert 0 <= drift.psi(*pair) < np.inf


@given(_pairs())
def test_ks_does_not_know_which_is_the_reference(pair: tuple[Counts, Counts]) -> None:
    """The distance is the same both ways."""
    reference, current = pair
    assert drift.ks_distance(reference, current) == drift.ks_distance(current, reference)


@given(_pairs())
def test_joined_bins_lose_no_row(pair: tuple[Counts, Counts]) -> None:
    """The joined bins contain every row of both, and each has rows of the reference."""
    q, p = drift.joined(*pair)
    assert (q.sum(), p.sum()) == (pair[0].sum(), pair[1].sum())
    assert (q > 0).all()


@given(_pairs())
def test_ks_is_scipys_on_the_bins(pair: tuple[Counts, Counts]) -> None:
    """Where values are no finer than bins, the distance is the two-sample statistic of SciPy."""
    few = [np.minimum(counts, 50) for counts in pair]
    if not all(counts.sum() for counts in few):
        return
    values = [np.repeat(np.arange(len(counts)), counts) for counts in few]
    assert drift.ks_distance(*few) == pytest.approx(stats.ks_2samp(*values, method="asymp").statistic)


@pytest.mark.parametrize("statistic", [drift.ks_distance, drift.psi, drift.largest_share_change])
def test_an_empty_window_gives_nan(statistic: object) -> None:
    """The statistic is nan if the reference or the window has no rows."""
    assert callable(statistic)
    assert isnan(statistic([5, 5], [0, 0]))
    assert isnan(statistic([0, 0], [5, 5]))


@pytest.mark.parametrize("statistic", [drift.ks_distance, drift.psi, drift.largest_share_change])
def test_other_bins_are_refused(statistic: object) -> None:
    """Counts on bins other than the reference's raise ValueError, whose message names both shapes."""
    assert callable(statistic)
    with pytest.raises(ValueError, match=r"reference has shape \(2,\), the window \(3,\)"):
        statistic([5, 5], [5, 5, 5])


def test_one_emptied_bin_does_not_explode() -> None:
    """A bin with a tenth of the rows that becomes empty counts as half a row, not as an epsilon."""
    emptied = [1_000] * 9 + [0]
    assert drift.psi([10_000] * 10, emptied) == pytest.approx(0.760, abs=0.001)


def test_outliers_beyond_the_reference_count() -> None:
    """Rows in a bin that the reference never filled show in KS, and in the PSI of the bin below."""
    reference, current = [500, 500, 0], [250, 250, 500]
    assert drift.ks_distance(reference, current) == 0.5
    assert drift.psi(reference, current) > 0.2


def test_floor_is_a_tenth_above_the_99th_percentile() -> None:
    """A floor of constant statistics lies a tenth above them; one window in a hundred does not move it much."""
    assert drift.drift_floor([0.2] * 50) == pytest.approx(0.22)
    assert isnan(drift.drift_floor([nan]))
