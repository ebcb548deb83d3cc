"""Defines when a drift statistic means drift: its limits, of which the rules have the numbers.

A statistic means drift only above its limit, which is the largest of three values: the value that chance alone exceeds
once in ten thousand windows, the smallest effect that matters, and the normal variation between windows of the
training data (the floor, if there is one). n is the number of rows in the window, m the number in the reference.
These functions compute from counts what the PromQL computes from metrics, which is tested against them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

from sightline_telemetry.model.drift import MIN_CATEGORY_ROWS, ROWS_PER_BIN, joined, ks_distance, pooled, psi

ALPHA = 1e-4
"""Probability, per window and feature, that chance alone exceeds a limit."""

Z_ALPHA = 3.719
"""The upper ALPHA quantile of the normal distribution: `scipy.stats.norm.isf(1e-4)`."""

KS_CRITICAL = ((10, 2.035), (20, 2.098))
"""Largest number of bins -> critical value of the scaled distance, simulated at ALPHA with equally filled bins."""

KS_CRITICAL_CONTINUOUS = 2.225
"""The critical value for more bins than KS_CRITICAL has, taken without bins: `scipy.stats.kstwobign.isf(1e-4)`."""

TAIL = 0.4516
"""`ln(pi / 2)`, a term of the asymptotic expansion of the normal quantile."""

MIN_RATE_ROWS = 100
"""With fewer rows there is no result for the share of missing values."""

Z_MISSING = 3.09
"""The upper 0.001 quantile of the normal distribution: `scipy.stats.norm.isf(1e-3)`."""

MISSING_EFFECT = 0.03
UNSEEN_EFFECT = 0.002
OUT_OF_RANGE_EFFECT = 0.01
"""The smallest shares of rows that matter: 3 % missing, 0.2 % unseen, 1 % out of range."""

MIN_UNUSUAL = 3
DEVIANCE_LIMIT = 6.91
"""-ln(0.001): by chance a rare count exceeds its expected value this far once in a thousand windows."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Sets the smallest changes that matter: of KS, of PSI above its mean by chance, and of a category's share."""

    ks: float
    psi: float
    share: float


STRICT = Effect(ks=0.1, psi=0.05, share=0.03)
"""The shipped rules use it: a tenth of the rows moved across an edge, or a PSI of 0.05 above its mean by chance."""

SENSITIVE = Effect(ks=0.05, psi=0.02, share=0.03)


@dataclass(frozen=True, slots=True)
class Finding:
    """Holds a statistic of a window and its limit."""

    statistic: str
    value: float
    limit: float

    @property
    def ratio(self) -> float:
        """Returns the statistic as a multiple of its limit; above 1 it is drift."""
        return self.value / self.limit

    @property
    def is_drift(self) -> bool:
        """Returns True if the limit is exceeded."""
        return self.ratio > 1


def noise(n: float, m: float) -> float:
    """Returns 1/n + 1/m; the variance of the difference of two shares is proportional to it."""
    return 1 / n + 1 / m


def ks_limit(n: float, m: float, bins: int) -> float:
    """Returns the KS distance that two samples of one distribution exceed with probability ALPHA at most.

    >>> round(ks_limit(1_000, 100_000, 10), 4)
    0.0647
    """
    critical = next((value for most, value in KS_CRITICAL if bins <= most), KS_CRITICAL_CONTINUOUS)
    return critical * sqrt(noise(n, m))


def psi_noise(n: float, m: float, bins: int) -> float:
    """Returns the mean PSI of two samples of one distribution, which is not 0.

    >>> round(psi_noise(300, 300, 10), 3)
    0.06
    """
    return noise(n, m) * (bins - 1)


def psi_limit(n: float, m: float, bins: int) -> float:
    """Returns the PSI that two samples of one distribution exceed with probability ALPHA.

    The PSI then has a chi-square distribution with bins - 1 degrees of freedom, scaled by `noise`. Its quantile is
    approximated after Wilson and Hilferty (1931): within 3 % from five bins on, and too large for fewer bins.

    >>> round(psi_limit(1_000, 100_000, 10), 4)
    0.0345
    """
    spread = 2 / (9 * (bins - 1))
    return psi_noise(n, m, bins) * float((1 - spread + Z_ALPHA * sqrt(spread)) ** 3)


def share_limit(n: float, m: float, pooled: float, categories: int) -> float:
    """Returns the change of a share that chance alone exceeds in any of the categories with probability ALPHA.

    pooled: the share in the rows of window and reference together. The square of the two-sided normal quantile at
    ALPHA / categories is approximated by its asymptotic expansion.

    >>> round(share_limit(1_000, 100_000, 0.2, 5), 4)
    0.0541
    """
    tail = 2 * log(categories / ALPHA)
    return sqrt((tail - log(tail) - TAIL) * pooled * (1 - pooled) * noise(n, m))


def missing_limit(n: float, m: float, pooled: float) -> float:
    """Returns the limit for the rise of the missing share: the 0.001 quantile of chance, at least MISSING_EFFECT.

    >>> missing_limit(10_000, 100_000, 0.1), round(missing_limit(100, 100_000, 0.1), 3)
    (0.03, 0.093)
    """
    return max(MISSING_EFFECT, Z_MISSING * sqrt(pooled * (1 - pooled) * noise(n, m)))


def unusual(count: float, expected: float, n: float, effect: float) -> bool:
    """Returns True if a rare count in n rows exceeds both `effect` and what chance reaches once in a thousand windows.

    The statistic is half the deviance of a Poisson count, `c ln(c / expected) - (c - expected)`.

    >>> unusual(3, 2.5, 1_000, UNSEEN_EFFECT), unusual(20, 2.5, 1_000, UNSEEN_EFFECT)
    (False, True)
    """
    if count < MIN_UNUSUAL or (count - expected) / n <= effect:
        return False
    return count * log(count / expected) - (count - expected) > DEVIANCE_LIMIT


def expected_unseen(n: float, m: float, singletons: int) -> float:
    """Returns how many of n rows have categories that are unseen in m training rows, if there is no drift.

    The Good-Turing estimate: the share of unseen categories equals the share of categories seen once.

    >>> expected_unseen(1_000, 100_000, 49)
    0.5
    """
    return n * (singletons + 1) / m


def expected_out_of_range(n: float, m: float) -> float:
    """Returns how many of n rows are above the largest (or below the smallest) of m training rows, without drift.

    >>> expected_out_of_range(1_000, 100_000)
    0.01
    """
    return n / m


def numeric_findings(
    reference: ArrayLike, current: ArrayLike, floors: Mapping[str, float] | None = None, effect: Effect = STRICT
) -> tuple[Finding, ...]:
    """Returns KS and PSI of a numeric feature's window with their limits; empty if there is no result.

    reference, current: (n_bins,) counts; floors: `ks` and `psi`, if the training data had a time column.

    >>> drifted = numeric_findings([1_000] * 10, [130, 120, 110] + [100] * 4 + [90, 80, 70])
    >>> [(f.statistic, round(f.value, 3), round(f.limit, 3), f.is_drift) for f in drifted]
    [('ks', 0.06, 0.1, False), ('psi', 0.028, 0.06, False)]
    """
    q, p = joined(reference, current)
    n, m, bins = float(p.sum()), float(q.sum()), len(q)
    if bins < 2 or n < ROWS_PER_BIN * bins:
        return ()
    known = floors or {}
    ks_least = max(ks_limit(n, m, bins), effect.ks, known.get("ks", 0.0))
    psi_least = max(psi_limit(n, m, bins), psi_noise(n, m, bins) + effect.psi, known.get("psi", 0.0))
    return (
        Finding("ks", ks_distance(reference, current), ks_least),
        Finding("psi", psi(reference, current), psi_least),
    )


def category_findings(
    reference: ArrayLike, current: ArrayLike, floors: Mapping[str, float] | None = None, effect: Effect = STRICT
) -> tuple[Finding, ...]:
    """Returns the changes of the categories' shares with their limits; empty if there is no result.

    reference, current: (n_categories,) counts of known categories, without missing and unseen; those rarer than
    RARE_SHARE in the reference are compared together, as the last one. floors: `share`.

    >>> [f.is_drift for f in category_findings([500, 300, 195, 5], [500, 200, 290, 10])]
    [False, True, True, False]
    """
    q, p = pooled(reference, current)
    n, m = float(p.sum()), float(q.sum())
    if len(q) < 2 or n < MIN_CATEGORY_ROWS:
        return ()
    floor = (floors or {}).get("share", 0.0)
    changes, shares = np.abs(p / n - q / m), (p + q) / (n + m)
    return tuple(
        Finding("share", float(change), max(share_limit(n, m, float(share), len(q)), effect.share, floor))
        for change, share in zip(changes, shares, strict=True)
    )
