"""The statistics and their limits: what they are at no drift, at chance, and at the edges."""

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
def test_identical_counts_do_not_drift(counts: Counts) -> None:
    """The distance of a distribution from itself is 0, for every statistic."""
    assert drift.ks_distance(counts, counts) == 0
    assert drift.psi(counts, counts) == 0
    assert drift.largest_share_change(counts, counts) == 0
    assert not any(finding.is_drift for finding in drift.numeric_findings(counts, counts))
    assert not any(finding.is_drift for finding in drift.category_findings(counts, counts))


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


@pytest.mark.parametrize(("bins", "critical"), [(10, 2.035), (20, 2.098)])
def test_ks_limit_is_what_chance_exceeds_that_often(bins: int, critical: float) -> None:
    """Of 200,000 seeded windows without drift, the share ALPHA exceeds the limit: 20 windows, within 4 sigma."""
    random = np.random.default_rng(8)
    n, m, windows = 2_000, 100_000, 200_000
    current, reference = (np.cumsum(random.multinomial(k, [1 / bins] * bins, windows), axis=1) / k for k in (n, m))
    exceeded = int((np.abs(current - reference).max(axis=1) > drift.ks_limit(n, m, bins)).sum())
    assert drift.ks_limit(n, m, bins) == pytest.approx(critical * np.sqrt(1 / n + 1 / m))
    assert abs(exceeded - drift.ALPHA * windows) < 4 * np.sqrt(drift.ALPHA * windows)


@pytest.mark.parametrize(("bins", "error"), [(2, 0.08), (5, 0.03), (10, 0.03), (20, 0.03)])
def test_psi_limit_is_chi_square(bins: int, error: float) -> None:
    """The approximation lies within 3 % of SciPy's quantile from five bins on, and above it at two."""
    exact = stats.chi2.isf(drift.ALPHA, bins - 1) * (1 / 500 + 1 / 5_000)
    assert drift.psi_limit(500, 5_000, bins) == pytest.approx(exact, rel=error)
    assert drift.psi_limit(500, 5_000, bins) > exact * 0.999


@pytest.mark.parametrize("categories", [2, 5, 20, 200])
def test_share_limit_is_normal(categories: int) -> None:
    """The approximation lies within 2 % of SciPy's normal quantile of a two-sided ALPHA over all categories."""
    exact = stats.norm.isf(drift.ALPHA / categories / 2) * np.sqrt(0.2 * 0.8 * (1 / 1_000 + 1 / 9_000))
    assert drift.share_limit(1_000, 9_000, 0.2, categories) == pytest.approx(exact, rel=0.02)


def test_constants_are_the_quantiles_they_claim() -> None:
    """Z_ALPHA, Z_MISSING, the continuous KS limit and the deviance limit are SciPy's numbers."""
    assert pytest.approx(stats.norm.isf(drift.ALPHA), abs=5e-4) == drift.Z_ALPHA
    assert pytest.approx(stats.norm.isf(1e-3), abs=5e-4) == drift.Z_MISSING
    assert pytest.approx(stats.kstwobign.isf(drift.ALPHA), abs=5e-4) == drift.KS_CRITICAL_CONTINUOUS
    assert pytest.approx(-np.log(1e-3), abs=5e-3) == drift.DEVIANCE_LIMIT


def test_limits_shrink_with_traffic_down_to_the_effect() -> None:
    """A limit falls as rows come, until the smallest change that matters takes over."""
    limits = [drift.numeric_findings([10_000] * 10, [n // 10] * 10)[0].limit for n in (200, 1_000, 100_000)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == drift.STRICT.ks


@pytest.mark.parametrize(
    ("reference", "current"),
    [([1_000] * 10, [9] * 10), ([1_000, 0, 0], [5_000, 0, 0]), ([0, 0], [50, 50])],
    ids=["under ten rows per bin", "one filled bin", "no reference"],
)
def test_too_few_rows_or_bins_give_no_finding(reference: list[int], current: list[int]) -> None:
    """Too few rows, a constant feature and an empty reference have no findings, rather than wrong ones."""
    assert drift.numeric_findings(reference, current) == ()


def test_few_rows_give_no_category_finding() -> None:
    """Shares of fewer than 500 rows have no findings."""
    assert drift.category_findings([500, 500], [400, 99]) == ()
    assert len(drift.category_findings([500, 500], [400, 100])) == 2


def test_a_floor_raises_the_limit() -> None:
    """A change within the floor is not drift; without a floor the same window is."""
    reference, warm = [1_000] * 10, [0] * 5 + [200] * 5
    assert all(finding.is_drift for finding in drift.numeric_findings(reference, warm))
    floors = {"ks": 0.6, "psi": 7.0}
    assert [finding.limit for finding in drift.numeric_findings(reference, warm, floors)] == [0.6, 7.0]
    assert not any(finding.is_drift for finding in drift.numeric_findings(reference, warm, floors))


def test_a_change_of_variance_shows_in_psi_first() -> None:
    """A feature whose spread grows by half drifts by PSI more clearly than by KS."""
    edges = stats.norm.ppf(np.arange(1, 10) / 10)
    wider = np.diff(np.concatenate([[0], stats.norm.cdf(edges / 1.5), [1]])) * 1_000
    ks, psi = drift.numeric_findings([10_000] * 10, wider)
    assert psi.is_drift
    assert psi.ratio > ks.ratio


def test_rare_categories_are_compared_together() -> None:
    """A hundred categories under one per cent are one finding, so that their number does not raise the limit."""
    reference = [4_000, 4_000] + [20] * 100
    assert len(drift.category_findings(reference, [400, 400] + [2] * 100)) == 3


def test_unseen_categories_are_expected_where_training_had_singletons() -> None:
    """Two unseen rows never speak; a share that training's own rare categories explain does not either."""
    assert not drift.unusual(2, 0.0001, 500, drift.UNSEEN_EFFECT)
    assert drift.unusual(12, drift.expected_unseen(1_000, 50_000, 9), 1_000, drift.UNSEEN_EFFECT)
    assert not drift.unusual(12, drift.expected_unseen(1_000, 50_000, 400), 1_000, drift.UNSEEN_EFFECT)


def test_floor_is_a_tenth_above_the_99th_percentile() -> None:
    """A floor of constant statistics lies a tenth above them; one window in a hundred does not move it much."""
    assert drift.drift_floor([0.2] * 50) == pytest.approx(0.22)
    assert isnan(drift.drift_floor([nan]))
