"""The limits of the drift statistics: what chance exceeds, what matters, and where there is no result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from prometheus import drift_limits


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=20).map(np.array).filter(lambda counts: counts.sum() > 0))
def test_identical_counts_do_not_drift(counts: NDArray[np.int64]) -> None:
    """A distribution does not drift from itself, by any statistic."""
    assert not any(finding.is_drift for finding in drift_limits.numeric_findings(counts, counts))
    assert not any(finding.is_drift for finding in drift_limits.category_findings(counts, counts))


@pytest.mark.parametrize(("bins", "critical"), [(10, 2.035), (20, 2.098)])
def test_ks_limit_is_what_chance_exceeds_that_often(bins: int, critical: float) -> None:
    """Of 200,000 seeded windows without drift, the share ALPHA exceeds the limit: 20 windows, within 4 sigma."""
    random = np.random.default_rng(8)
    n, m, windows = 2_000, 100_000, 200_000
    current, reference = (np.cumsum(random.multinomial(k, [1 / bins] * bins, windows), axis=1) / k for k in (n, m))
    exceeded = int((np.abs(current - reference).max(axis=1) > drift_limits.ks_limit(n, m, bins)).sum())
    assert drift_limits.ks_limit(n, m, bins) == pytest.approx(critical * np.sqrt(1 / n + 1 / m))
    assert abs(exceeded - drift_limits.ALPHA * windows) < 4 * np.sqrt(drift_limits.ALPHA * windows)


@pytest.mark.parametrize(("bins", "error"), [(2, 0.08), (5, 0.03), (10, 0.03), (20, 0.03)])
def test_psi_limit_is_chi_square(bins: int, error: float) -> None:
    """The approximation lies within 3 % of SciPy's quantile from five bins on, and above it at two."""
    exact = stats.chi2.isf(drift_limits.ALPHA, bins - 1) * (1 / 500 + 1 / 5_000)
    assert drift_limits.psi_limit(500, 5_000, bins) == pytest.approx(exact, rel=error)
    assert drift_limits.psi_limit(500, 5_000, bins) > exact * 0.999


@pytest.mark.parametrize("categories", [2, 5, 20, 200])
def test_share_limit_is_normal(categories: int) -> None:
    """The approximation lies within 2 % of SciPy's normal quantile of a two-sided ALPHA over all categories."""
    exact = stats.norm.isf(drift_limits.ALPHA / categories / 2) * np.sqrt(0.2 * 0.8 * (1 / 1_000 + 1 / 9_000))
    assert drift_limits.share_limit(1_000, 9_000, 0.2, categories) == pytest.approx(exact, rel=0.02)


def test_constants_are_the_quantiles_they_claim() -> None:
    """Z_ALPHA, Z_MISSING, the continuous KS limit and the deviance limit are SciPy's numbers."""
    assert pytest.approx(stats.norm.isf(drift_limits.ALPHA), abs=5e-4) == drift_limits.Z_ALPHA
    assert pytest.approx(stats.norm.isf(1e-3), abs=5e-4) == drift_limits.Z_MISSING
    assert pytest.approx(stats.kstwobign.isf(drift_limits.ALPHA), abs=5e-4) == drift_limits.KS_CRITICAL_CONTINUOUS
    assert pytest.approx(-np.log(1e-3), abs=5e-3) == drift_limits.DEVIANCE_LIMIT


def test_limits_shrink_with_traffic_down_to_the_effect() -> None:
    """A limit falls as rows come, until the smallest change that matters takes over."""
    limits = [drift_limits.numeric_findings([10_000] * 10, [n // 10] * 10)[0].limit for n in (200, 1_000, 100_000)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == drift_limits.STRICT.ks


@pytest.mark.parametrize(
    ("reference", "current"),
    [([1_000] * 10, [9] * 10), ([1_000, 0, 0], [5_000, 0, 0]), ([0, 0], [50, 50])],
    ids=["under ten rows per bin", "one filled bin", "no reference"],
)
def test_too_few_rows_or_bins_give_no_finding(reference: list[int], current: list[int]) -> None:
    """Too few rows, a constant feature and an empty reference have no findings, rather than wrong ones."""
    assert drift_limits.numeric_findings(reference, current) == ()


def test_few_rows_give_no_category_finding() -> None:
    """Shares of fewer than 500 rows have no findings."""
    assert drift_limits.category_findings([500, 500], [400, 99]) == ()
    assert len(drift_limits.category_findings([500, 500], [400, 100])) == 2


def test_a_floor_raises_the_limit() -> None:
    """A change within the floor is not drift; without a floor the same window is."""
    reference, warm = [1_000] * 10, [0] * 5 + [200] * 5
    assert all(finding.is_drift for finding in drift_limits.numeric_findings(reference, warm))
    floors = {"ks": 0.6, "psi": 7.0}
    assert [finding.limit for finding in drift_limits.numeric_findings(reference, warm, floors)] == [0.6, 7.0]
    assert not any(finding.is_drift for finding in drift_limits.numeric_findings(reference, warm, floors))


def test_a_change_of_variance_shows_in_psi_first() -> None:
    """A feature whose spread grows by half drifts by PSI more clearly than by KS."""
    edges = stats.norm.ppf(np.arange(1, 10) / 10)
    wider = np.diff(np.concatenate([[0], stats.norm.cdf(edges / 1.5), [1]])) * 1_000
    ks, psi = drift_limits.numeric_findings([10_000] * 10, wider)
    assert psi.is_drift
    assert psi.ratio > ks.ratio


def test_rare_categories_are_compared_together() -> None:
    """A hundred categories under one per cent are one finding, so that their number does not raise the limit."""
    reference = [4_000, 4_000] + [20] * 100
    assert len(drift_limits.category_findings(reference, [400, 400] + [2] * 100)) == 3


def test_unseen_categories_are_expected_where_training_had_singletons() -> None:
    """Two unseen rows never speak; a share that training's own rare categories explain does not either."""
    assert not drift_limits.unusual(2, 0.0001, 500, drift_limits.UNSEEN_EFFECT)
    assert drift_limits.unusual(12, drift_limits.expected_unseen(1_000, 50_000, 9), 1_000, drift_limits.UNSEEN_EFFECT)
    assert not drift_limits.unusual(
        12, drift_limits.expected_unseen(1_000, 50_000, 400), 1_000, drift_limits.UNSEEN_EFFECT
    )
