"""Which traces are requested at the start of a request, on a clock that the test turns."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.seats import SeatSizes
from sightline_telemetry.observer.worker_sink import GrantedByWorkers
from sightline_telemetry.requests.allowance import Allowance, AskedSampler
from tests.telemetry.clock import Clock

TINY = BoardSizes(64, 64, SeatSizes(4096, 4096, 64, 4096, 1))


def test_an_allowance_is_a_second() -> None:
    """An allowance of 20 gives at most 20 in a second and 20 more in the next, even after a long pause."""
    clock = Clock()
    allowance = Allowance(20, clock)
    for pause_s in (1, 1, 3600):
        assert sum(allowance.take() for _ in range(100)) == 20
        clock.now += pause_s


@given(
    st.one_of(st.just(0.0), st.floats(0.01, 0.99), st.floats(1, 30)),
    st.lists(st.floats(0, 3), min_size=1, max_size=200),
    st.integers(0, 100_000),
)
def test_an_allowance_is_the_same_alone_and_shared(per_s: float, pauses_s: list[float], start_s: int) -> None:
    """Workers with one board grant what one process grants, and never more than the rate and one window allow."""
    clock = Clock()
    clock.now = float(start_s)
    alone = Allowance(per_s, clock)
    board = Board.create(3, TINY)
    os.close(board.fd)
    shared = [Allowance(per_s, clock, GrantedByWorkers(board, index)) for index in range(3)]
    n_granted = 0
    for index, pause_s in enumerate(pauses_s):
        clock.now += pause_s
        for _ in range(3):
            is_granted = alone.take()
            assert shared[index % 3].take() == is_granted
            n_granted += is_granted
    window_s = 1 / per_s if 0 < per_s < 1 else 1.0
    assert n_granted <= per_s * (clock.now - start_s + 2 * window_s) + 1
    assert bool(n_granted) == (per_s > 0)


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
