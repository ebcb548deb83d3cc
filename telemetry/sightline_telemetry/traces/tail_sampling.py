"""Decides, when a request has ended, whether its trace is kept: it was requested, failed, slow, or is an exemplar.

Imports no OpenTelemetry. Only one thread uses a sampler, so it needs no lock.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from time import monotonic
from typing import NamedTuple, Protocol

from sightline_telemetry.events.layout import IS_ASKED, IS_OVER_BUDGET, RequestEvent
from sightline_telemetry.requests.allowance import Allowance, Clock


class Reason(StrEnum):
    """Names the reasons to keep a trace, in the order in which they are tried."""

    ASKED = "asked"
    FAILED = "failed"
    SLOW = "slow"
    EXEMPLAR = "exemplar"


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


class Decision(NamedTuple):
    """Holds why a trace is kept, or None, and the reasons whose allowance was used up."""

    kept: Reason | None = None
    over_budget: tuple[Reason, ...] = ()


class Sampler(Protocol):
    """Decides for each ended request whether its trace is kept."""

    def decide(self, event: RequestEvent, route: str, *, needs_exemplar: bool) -> Decision:
        """Returns the reason to keep a trace. needs_exemplar: its latency bucket has no recent exemplar."""


class TailSampler:
    """Decides when a request has ended; one sampler decides for all workers, so that they share one percentile."""

    SLOWER_THAN_P95 = 3.0

    def __init__(self, rules: SamplingRules | None = None, clock: Clock = monotonic) -> None:
        self._rules = rules or SamplingRules()
        self._clock = clock
        tail = (Reason.FAILED, Reason.SLOW, Reason.EXEMPLAR)
        self._allowances = {reason: Allowance(self._rules.allowances[reason], clock) for reason in tail}
        self._latencies: dict[str, RecentLatency] = {}

    def decide(self, event: RequestEvent, route: str, *, needs_exemplar: bool) -> Decision:
        """Returns the reason to keep this request's trace, if any.

        If the allowance of the first reason is used up, the trace may still be kept for the next reason. A client that
        disconnects is no failure, and must not use up the allowance for failures.
        """
        latency = self._latencies.get(route)
        if latency is None:
            latency = self._latencies[route] = RecentLatency(self._clock)
        duration_s = event.duration_s
        latency.add(duration_s)
        if event.flags & IS_ASKED:
            return Decision(Reason.ASKED)
        is_slow = duration_s > self._rules.slow_s or duration_s > self.SLOWER_THAN_P95 * latency.p95_s
        decision = self._first_allowed(event.status >= 500, is_slow, needs_exemplar)
        if event.flags & IS_OVER_BUDGET:
            return Decision(decision.kept, (Reason.ASKED, *decision.over_budget))
        return decision

    def _first_allowed(self, has_failed: bool, is_slow: bool, needs_exemplar: bool) -> Decision:
        cut = None
        for reason, applies in ((Reason.FAILED, has_failed), (Reason.SLOW, is_slow), (Reason.EXEMPLAR, needs_exemplar)):
            if not applies:
                continue
            if self._allowances[reason].take():
                return Decision(reason)
            cut = cut or reason
        return Decision(None, () if cut is None else (cut,))


class HeadSampled:
    """Keeps the traces that another sampler took at their start, as `asked`, and has no allowances."""

    def decide(self, event: RequestEvent, route: str, *, needs_exemplar: bool) -> Decision:  # noqa: ARG002
        """Returns `asked` if the trace was sampled at its start."""
        return Decision(Reason.ASKED) if event.flags & IS_ASKED else Decision()
