"""The board of a service whose workers have begun."""

import os
from collections.abc import Iterator

import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.events.memory import Board
from sightline_telemetry.observer.description import describe as describe_service
from sightline_telemetry.observer.observer import ObserverOptions
from tests.telemetry.observer.boards import SMALL
from tests.telemetry.serving import describe


@pytest.fixture
def board(model: DescribedModel) -> Iterator[Board]:
    """The board of a service with two workers, which have begun."""
    made = Board.create(2, SMALL)
    for index in range(2):
        made.seat(index).process.begin()
        made.seat(index).process.pid = os.getpid()
    made.describe(describe_service(describe(model), ObserverOptions(has_ring=True)))
    yield made
    os.close(made.fd)
