"""The small model, served once for all tests that do not change it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.running import Running, running
from tests.telemetry.sink import Sink, receiving


@pytest.fixture(scope="session")
def small_service(small_bundle: Path) -> Iterator[Running]:
    """Serves the small model over real HTTP."""
    with running(small_bundle) as service:
        yield service


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Runs an OTLP endpoint."""
    with receiving() as server:
        yield server
