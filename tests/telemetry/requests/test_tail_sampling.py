"""Which traces are kept, by reason and allowance, on a clock that the test turns."""

import pytest

from sightline_telemetry.requests.tail_sampling import Allowance, Reason, RecentLatency, SamplingRules, TailSampler


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at some moment."""
    return Clock()


def decide(
    sampler: TailSampler,
    duration_s: float = 0.01,
    *,
    is_asked: bool = False,
    has_failed: bool = False,
    needs_exemplar: bool = False,
) -> Reason | None:
    """Decides about one request of one route."""
    return sampler.decide("/r", duration_s, is_asked=is_asked, has_failed=has_failed, needs_exemplar=needs_exemplar)


def test_an_ordinary_request_is_not_kept(clock: Clock) -> None:
    """A request that is not requested, failed, slow or the first of its bucket is neither kept nor counted."""
    sampler = TailSampler(clock=clock)
    assert decide(sampler) is None
    assert sum(sampler.kept.values()) == sum(sampler.over_budget.values()) == 0


def test_each_reason_keeps(clock: Clock) -> None:
    """Each reason keeps a trace and is counted; the first one that applies is returned."""
    sampler = TailSampler(clock=clock)
    assert decide(sampler, is_asked=True, has_failed=True) is Reason.ASKED
    assert decide(sampler, 9.0, has_failed=True, needs_exemplar=True) is Reason.FAILED
    assert decide(sampler, 0.51, needs_exemplar=True) is Reason.SLOW
    assert decide(sampler, 0.5, needs_exemplar=True) is Reason.EXEMPLAR
    assert sampler.kept == dict.fromkeys(Reason, 1)


def test_no_reason_starves_another(clock: Clock) -> None:
    """A flood of failures uses up its own allowance, is counted, and leaves the others theirs."""
    sampler = TailSampler(clock=clock)
    kept = [decide(sampler, has_failed=True) for _ in range(500)]
    assert kept.count(Reason.FAILED) == 20
    assert sampler.over_budget[Reason.FAILED] == 480
    assert decide(sampler, 1.0) is Reason.SLOW
    assert decide(sampler, needs_exemplar=True) is Reason.EXEMPLAR
    assert sampler.wants(is_sampled_by_caller=True)


def test_what_one_allowance_cuts_another_may_keep(clock: Clock) -> None:
    """A failed request over its allowance is still kept as the dot of a bare bucket, and is not counted as cut."""
    sampler = TailSampler(clock=clock)
    for _ in range(20):
        decide(sampler, has_failed=True)
    assert decide(sampler, has_failed=True, needs_exemplar=True) is Reason.EXEMPLAR
    assert sampler.over_budget[Reason.FAILED] == 0


def test_an_allowance_is_a_second(clock: Clock) -> None:
    """An allowance of 20 gives at most 20 at once and 20 more after a second, even after a long pause."""
    allowance = Allowance(20, clock)
    assert sum(allowance.take() for _ in range(100)) == 20
    clock.now += 0.5
    assert sum(allowance.take() for _ in range(100)) == 10
    clock.now += 3600
    assert sum(allowance.take() for _ in range(100)) == 20


def test_callers_cannot_make_the_service_pay(clock: Clock) -> None:
    """Of 1,000 requests per second whose callers trace them, 100 are; the rest is counted as cut."""
    sampler = TailSampler(clock=clock)
    assert sum(sampler.wants(is_sampled_by_caller=True) for _ in range(1000)) == 100
    assert sampler.over_budget[Reason.ASKED] == 900


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 400, 600), (1.0, 2000, 2000)])
def test_a_share_is_taken_up_front(clock: Clock, share: float, least: int, most: int) -> None:
    """The share applies to requests whose callers did not request a trace."""
    rules = SamplingRules(share=share, allowances=dict.fromkeys(Reason, 1e9))
    sampler = TailSampler(rules, clock)
    assert least <= sum(sampler.wants(is_sampled_by_caller=False) for _ in range(2000)) <= most


def test_slow_for_its_route(clock: Clock) -> None:
    """Once a route has 100 requests in a minute, three times its 95th percentile is slow; without traffic it is not."""
    sampler = TailSampler(clock=clock)
    for _ in range(200):
        assert decide(sampler, 0.010) is None
    assert decide(sampler, 0.2) is None
    clock.now += 11
    assert decide(sampler, 0.025) is None
    assert decide(sampler, 0.040) is Reason.SLOW
    clock.now += 61
    assert decide(sampler, 0.040) is None


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
