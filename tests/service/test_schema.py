"""The service answers as its OpenAPI document says: Schemathesis generates requests that fit it, and others."""

from collections.abc import Iterator

import pytest
import schemathesis
from schemathesis.engine import Status, events, from_schema

from tests.service.running import Running

EXPECTED = {
    # This dummy fails on demand.
    ("not_a_server_error", "GET /predict/random"),
    # No schema can say that data has as many elements as its shape, or that 1.0 is no integer.
    ("positive_data_acceptance", "POST /v2/models/{name}/infer"),
    ("positive_data_acceptance", "POST /v2/models/{name}/versions/{version}/infer"),
}


def failed(event: events.ScenarioFinished) -> Iterator[tuple[tuple[str, str], str]]:
    """Yields the check and the operation of each failure, with what was sent and answered."""
    recorder = event.recorder
    for number, checks in recorder.checks.items():
        case, interaction = recorder.cases[number].value, recorder.interactions.get(number)
        answer = interaction.response.content[:300] if interaction and interaction.response else b""
        for check in checks:
            if check.status == Status.FAILURE:
                yield (check.name, case.operation.label), f"{case.query} {case.body!r:.300} -> {answer!r}"


@pytest.mark.slow
def test_schemathesis_finds_nothing(small_service: Running) -> None:
    """Examples, limits, random requests and sequences of them: every check holds but those that no document can."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{small_service.port}/openapi.json")
    schema.config.generation.update(max_examples=10)
    n_cases = 0
    found: dict[tuple[str, str], str] = {}
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            n_cases += len(event.recorder.cases)
            found |= {place: seen for place, seen in failed(event) if place not in EXPECTED}
    assert not found
    assert n_cases > 1000
