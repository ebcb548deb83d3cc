"""Which traces are kept, by reason and allowance, on a clock that the test turns."""

import pytest

from sightline_telemetry.events.layout import IS_ASKED, IS_OVER_BUDGET
from sightline_telemetry.traces.tail_sampling import (
    Decision,
    HeadSampled,
    Reason,
    RecentLatency,
    Sampler,
    TailSampler,
)
from tests.telemetry.clock import Clock
from tests.telemetry.serving import ENDED, lasting


@pytest.fixture
def clock() -> Clock:
    """A clock at some moment."""
    return Clock()


def decide(
    sampler: Sampler,
    duration_s: float = 0.01,
    *,
    is_asked: bool = False,
    is_over_budget: bool = False,
    has_failed: bool = False,
    needs_exemplar: bool = False,
) -> Decision:
    """Decides about one request of one route."""
    flags = IS_ASKED * is_asked | IS_OVER_BUDGET * is_over_budget
    event = lasting(duration_s, ENDED._replace(flags=flags, status=500 if has_failed else 200))
    return sampler.decide(event, "/r", needs_exemplar=needs_exemplar)


def test_an_ordinary_request_is_not_kept(clock: Clock) -> None:
    """A request that is not requested, failed, slow or the first of its bucket is neither kept nor counted."""
    assert decide(TailSampler(clock=clock)) == Decision(None, ())


def test_each_reason_keeps(clock: Clock) -> None:
    """Each reason keeps a trace; the first one that applies is returned."""
    sampler = TailSampler(clock=clock)
    assert decide(sampler, is_asked=True, has_failed=True) == Decision(Reason.ASKED)
    assert decide(sampler, 9.0, has_failed=True, needs_exemplar=True) == Decision(Reason.FAILED)
    assert decide(sampler, 0.51, needs_exemplar=True) == Decision(Reason.SLOW)
    assert decide(sampler, 0.5, needs_exemplar=True) == Decision(Reason.EXEMPLAR)


@pytest.mark.parametrize("status", [0, 200, 404, 499])
def test_a_client_cannot_fail_a_request(clock: Clock, status: int) -> None:
    """A client that disconnects or is refused is no failure, and uses up no allowance for failures."""
    sampler = TailSampler(clock=clock)
    assert sampler.decide(ENDED._replace(status=status), "/r", needs_exemplar=False) == Decision(None, ())


def test_no_reason_starves_another(clock: Clock) -> None:
    """A flood of failures uses up its own allowance, is counted, and leaves the others theirs."""
    sampler = TailSampler(clock=clock)
    decisions = [decide(sampler, has_failed=True) for _ in range(500)]
    assert [decision.kept for decision in decisions].count(Reason.FAILED) == 20
    assert [decision.over_budget for decision in decisions].count((Reason.FAILED,)) == 480
    assert decide(sampler, 1.0) == Decision(Reason.SLOW)
    assert decide(sampler, needs_exemplar=True) == Decision(Reason.EXEMPLAR)
    assert decide(sampler, is_asked=True) == Decision(Reason.ASKED)


def test_what_one_allowance_cuts_another_may_keep(clock: Clock) -> None:
    """A failed request over its allowance is still kept as the dot of a bare bucket, and is not counted as cut."""
    sampler = TailSampler(clock=clock)
    for _ in range(20):
        decide(sampler, has_failed=True)
    assert decide(sampler, has_failed=True, needs_exemplar=True) == Decision(Reason.EXEMPLAR, ())


def test_a_trace_that_was_cut_at_the_start_is_counted(clock: Clock) -> None:
    """A requested trace beyond its allowance counts as cut, whether or not another reason keeps it or is cut too."""
    sampler = TailSampler(clock=clock)
    assert decide(sampler, is_over_budget=True) == Decision(None, (Reason.ASKED,))
    assert decide(sampler, is_over_budget=True, has_failed=True) == Decision(Reason.FAILED, (Reason.ASKED,))
    for _ in range(20):
        decide(sampler, has_failed=True)
    cut = decide(sampler, is_over_budget=True, has_failed=True)
    assert cut == Decision(None, (Reason.ASKED, Reason.FAILED))


def test_slow_for_its_route(clock: Clock) -> None:
    """Once a route has 100 requests in a minute, three times its 95th percentile is slow; without traffic it is not."""
    sampler = TailSampler(clock=clock)
    for _ in range(200):
        assert decide(sampler, 0.010).kept is None
    assert decide(sampler, 0.2).kept is None
    clock.now += 11
    assert decide(sampler, 0.025).kept is None
    assert decide(sampler, 0.040).kept is Reason.SLOW
    clock.now += 61
    assert decide(sampler, 0.040).kept is None


def test_the_percentile_is_within_a_tenth(clock: Clock) -> None:
    """The 95th percentile of 1 to 1,000 ms is found within ten percent above."""
    latency = RecentLatency(clock)
    for ms in range(1, 1001):
        latency.add(ms / 1000)
    clock.now += 10
    latency.add(0.001)
    assert 0.95 <= latency.p95_s <= 0.95 * 1.1


def test_ninety_nine_requests_are_too_few(clock: Clock) -> None:
    """Below 100 requests in the last minute nothing is said of a route."""
    latency = RecentLatency(clock)
    for _ in range(98):
        latency.add(0.01)
    clock.now += 10
    latency.add(0.01)
    assert latency.p95_s == float("inf")


def test_what_another_sampler_took_is_kept_as_requested() -> None:
    """Where spans are sampled at their start, nothing else keeps a trace, and nothing is over an allowance."""
    sampler = HeadSampled()
    assert decide(sampler, 9.0, has_failed=True, needs_exemplar=True) == Decision(None, ())
    assert {decide(sampler, is_asked=True) for _ in range(1000)} == {Decision(Reason.ASKED, ())}
