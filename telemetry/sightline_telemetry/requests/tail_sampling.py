"""Which traces are kept, decided when a request has ended: asked for, failed, slow, or the exemplar of a bucket.

Knows no OpenTelemetry. Used from the event loop alone, so it holds no lock.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from random import random
from time import monotonic


class Reason(StrEnum):
    """Why a trace is kept, in the order in which reasons are tried."""

    ASKED = "asked"
    FAILED = "failed"
    SLOW = "slow"
    EXEMPLAR = "exemplar"


Clock = Callable[[], float]


class Allowance:
    """At most `per_s` tokens per second, and as many at once: a token bucket.

    >>> allowance = Allowance(1, clock=lambda: 0.0)
    >>> allowance.take(), allowance.take()
    (True, False)
    """

    __slots__ = ("_clock", "_filled_at", "_per_s", "_tokens")

    def __init__(self, per_s: float, clock: Clock = monotonic) -> None:
        self._per_s = per_s
        self._tokens = per_s
        self._clock = clock
        self._filled_at = clock()

    def take(self) -> bool:
        """Takes one token; False if none is left."""
        now = self._clock()
        self._tokens = min(self._per_s, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class RecentLatency:
    """The 95th percentile of one route over the last minute, within 10 %.

    Six slices of ten seconds, each a histogram whose buckets grow by a tenth from 10 microseconds on; the
    percentile is computed again when a slice is full, so a request costs one bisection and one addition.
    """

    SLICES = 6
    SLICE_S = 10.0
    ENOUGH = 100
    _EDGES_S = tuple(1e-5 * 1.1**power for power in range(1, 160))
    _N_BUCKETS = len(_EDGES_S) + 1

    __slots__ = ("_clock", "_counts", "_now", "_turn_at", "p95_s")

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._counts = [[0] * self._N_BUCKETS for _ in range(self.SLICES)]
        self._now = 0
        self._turn_at = clock() + self.SLICE_S
        self.p95_s = inf
        """Upper edge of the bucket that holds the percentile; infinite below 100 requests per minute."""

    def add(self, duration_s: float) -> None:
        """Takes one request into account."""
        now = self._clock()
        if now >= self._turn_at:
            self._turn(now)
        self._counts[self._now][bisect_right(self._EDGES_S, duration_s)] += 1

    def _turn(self, now: float) -> None:
        passed = min(int((now - self._turn_at) / self.SLICE_S), self.SLICES - 1)
        # Slices in which nothing arrived are empty ones, so the oldest are forgotten for them before the percentile.
        for _ in range(passed):
            self._now = (self._now + 1) % self.SLICES
            self._counts[self._now] = [0] * self._N_BUCKETS
        self.p95_s = self._percentile()
        self._now = (self._now + 1) % self.SLICES
        self._counts[self._now] = [0] * self._N_BUCKETS
        self._turn_at = now + self.SLICE_S

    def _percentile(self) -> float:
        merged = [sum(column) for column in zip(*self._counts, strict=True)]
        total = sum(merged)
        if total < self.ENOUGH:
            return inf
        seen = 0
        for bucket, count in enumerate(merged):
            seen += count
            if seen >= 0.95 * total:
                return self._EDGES_S[bucket] if bucket < len(self._EDGES_S) else inf
        return inf


@dataclass(frozen=True, slots=True)
class SamplingRules:
    """What is slow, the share taken up front, and each reason's allowance of traces per second."""

    slow_s: float = 0.5
    share: float = 0.0
    allowances: Mapping[Reason, float] = field(
        default_factory=lambda: {Reason.ASKED: 100.0, Reason.FAILED: 20.0, Reason.SLOW: 20.0, Reason.EXEMPLAR: 20.0}
    )


class TailSampler:
    """Decides about each request when it ends, and counts what it kept and what the allowances cut."""

    SLOWER_THAN_P95 = 3.0

    def __init__(self, rules: SamplingRules | None = None, clock: Clock = monotonic) -> None:
        self._rules = rules or SamplingRules()
        self._clock = clock
        self._allowances = {reason: Allowance(self._rules.allowances[reason], clock) for reason in Reason}
        self._latencies: dict[str, RecentLatency] = {}
        self.kept = dict.fromkeys(Reason, 0)
        self.over_budget = dict.fromkeys(Reason, 0)

    def wants(self, is_sampled_by_caller: bool) -> bool:
        """True if a request that begins is traced whatever becomes of it; charges the allowance for `asked`."""
        if not is_sampled_by_caller and not (self._rules.share and random() < self._rules.share):  # noqa: S311
            return False
        if self._allowances[Reason.ASKED].take():
            return True
        self.over_budget[Reason.ASKED] += 1
        return False

    def decide(
        self, route: str, duration_s: float, *, is_asked: bool, has_failed: bool, needs_exemplar: bool
    ) -> Reason | None:
        """Why this request's trace is kept, or None.

        needs_exemplar: its latency bucket has no exemplar since the last export.
        A request whose first reason is over its allowance may still be kept for the next one.
        """
        latency = self._latencies.get(route)
        if latency is None:
            latency = self._latencies[route] = RecentLatency(self._clock)
        latency.add(duration_s)
        is_slow = duration_s > self._rules.slow_s or duration_s > self.SLOWER_THAN_P95 * latency.p95_s
        if is_asked:
            self.kept[Reason.ASKED] += 1
            return Reason.ASKED
        if not (has_failed or is_slow or needs_exemplar):
            return None
        return self._first_allowed(has_failed, is_slow, needs_exemplar)

    def _first_allowed(self, has_failed: bool, is_slow: bool, needs_exemplar: bool) -> Reason | None:
        cut = None
        for reason, applies in ((Reason.FAILED, has_failed), (Reason.SLOW, is_slow), (Reason.EXEMPLAR, needs_exemplar)):
            if not applies:
                continue
            if self._allowances[reason].take():
                self.kept[reason] += 1
                return reason
            cut = cut or reason
        if cut is not None:
            self.over_budget[cut] += 1
        return None
