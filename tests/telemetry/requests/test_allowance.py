"""Which traces are requested at the start of a request, on a clock that the test turns."""

import pytest

from sightline_telemetry.requests.allowance import Allowance, AskedSampler
from tests.telemetry.clock import Clock


def test_an_allowance_is_a_second() -> None:
    """An allowance of 20 gives at most 20 at once and 20 more after a second, even after a long pause."""
    clock = Clock()
    allowance = Allowance(20, clock)
    assert sum(allowance.take() for _ in range(100)) == 20
    clock.now += 0.5
    assert sum(allowance.take() for _ in range(100)) == 10
    clock.now += 3600
    assert sum(allowance.take() for _ in range(100)) == 20


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 400, 600), (1.0, 2000, 2000)])
def test_a_share_is_taken_up_front(share: float, least: int, most: int) -> None:
    """The share applies to requests whose callers did not request a trace; what callers request is always wanted."""
    asked = AskedSampler(share, Allowance(1e9, Clock()))
    assert least <= sum(asked.is_asked(is_sampled_by_caller=False) for _ in range(2000)) <= most
    assert all(asked.is_asked(is_sampled_by_caller=True) for _ in range(2000))


def test_what_is_asked_is_within_the_allowance() -> None:
    """The allowance is that of the sampler: of 150 traces 100 are taken."""
    asked = AskedSampler(0.0, Allowance(100, Clock()))
    assert sum(asked.take() for _ in range(150)) == 100
