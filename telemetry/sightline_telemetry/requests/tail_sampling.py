"""Decides, when a request has ended, whether its trace is kept: it was requested, failed, slow, or is an exemplar.

Imports no OpenTelemetry. Only the event loop uses this module, so it needs no lock.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from random import random
from time import monotonic


class Reason(StrEnum):
    """Names the reasons to keep a trace, in the order in which they are tried."""

    ASKED = "asked"
    FAILED = "failed"
    SLOW = "slow"
    EXEMPLAR = "exemplar"


Clock = Callable[[], float]


class Allowance:
    """Limits the kept traces by a token bucket: `per_s` tokens per second, and at most as many at once.

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
        """Takes one token and returns True, or returns False if no token is left."""
        now = self._clock()
        self._tokens = min(self._per_s, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class RecentLatency:
    """Estimates the 95th percentile of one route's latency over the last minute, within 10 %.

    There are six slices of ten seconds. Each is a histogram whose buckets start at 10 microseconds and grow by a tenth.
    The percentile is computed only when a slice ends, so a request costs one bisection and one addition.
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
        """Counts the duration of one request."""
        now = self._clock()
        if now >= self._turn_at:
            self._turn(now)
        self._counts[self._now][bisect_right(self._EDGES_S, duration_s)] += 1

    def _turn(self, now: float) -> None:
        passed = min(int((now - self._turn_at) / self.SLICE_S), self.SLICES - 1)
        # Slices without requests are empty; they replace the oldest slices before the percentile is computed.
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
    """Sets what counts as slow, the share of traces kept at random, and the traces per second allowed per reason."""

    slow_s: float = 0.5
    share: float = 0.0
    allowances: Mapping[Reason, float] = field(
        default_factory=lambda: {Reason.ASKED: 100.0, Reason.FAILED: 20.0, Reason.SLOW: 20.0, Reason.EXEMPLAR: 20.0}
    )


class TailSampler:
    """Decides for each ended request whether its trace is kept, and counts kept traces and those over an allowance."""

    SLOWER_THAN_P95 = 3.0

    def __init__(self, rules: SamplingRules | None = None, clock: Clock = monotonic) -> None:
        self._rules = rules or SamplingRules()
        self._clock = clock
        self._allowances = {reason: Allowance(self._rules.allowances[reason], clock) for reason in Reason}
        self._latencies: dict[str, RecentLatency] = {}
        self.kept = dict.fromkeys(Reason, 0)
        self.over_budget = dict.fromkeys(Reason, 0)

    def wants(self, is_sampled_by_caller: bool) -> bool:
        """Returns True if the trace of a starting request is kept in any case; this uses the allowance for `asked`."""
        if not is_sampled_by_caller and not (self._rules.share and random() < self._rules.share):  # noqa: S311
            return False
        if self._allowances[Reason.ASKED].take():
            return True
        self.over_budget[Reason.ASKED] += 1
        return False

    def decide(
        self, route: str, duration_s: float, *, is_asked: bool, has_failed: bool, needs_exemplar: bool
    ) -> Reason | None:
        """Returns the reason to keep this request's trace, or None.

        needs_exemplar: its latency bucket got no exemplar since the last export.
        If the allowance of the first reason is used up, the trace may still be kept for the next reason.
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
