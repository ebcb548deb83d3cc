"""The service answers as its OpenAPI document says: Schemathesis generates requests that fit it, and others."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS
from schemathesis.schemas import BaseSchema

from tests.service.running import Running


@pytest.fixture
def document(small_service: Running) -> BaseSchema:
    """The document of the running service."""
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{small_service.port}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_answer_is_as_documented(case: schemathesis.Case) -> None:
    """Statuses, media types, bodies and headers are documented; what fits is taken, and what does not is refused."""
    case.call_and_validate()
