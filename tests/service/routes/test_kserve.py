"""KServe's protocol, version 1, over real HTTP: the predict route's own answers, and errors in its shape."""

import json
from typing import Any

import pytest

from tests.service.running import Running

ROW: dict[str, Any] = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
PREDICT = "/v1/models/small:predict"


def test_predictions_are_those_of_the_predict_route(small_service: Running) -> None:
    """Outcome and probabilities are the same, and each row has an id of its own."""
    rows = [ROW, ROW | {"age": None, "city": "Atlantis"}]
    expected = small_service.predict(rows).json()["predictions"]
    answer = small_service.client.post(PREDICT, json={"instances": rows}).json()
    assert answer.keys() == {"predictions"}
    ids = {each.pop("prediction_id") for each in answer["predictions"]}
    assert len(ids) == 2
    assert answer["predictions"] == [{k: v for k, v in each.items() if k != "prediction_id"} for each in expected]


def test_rows_are_counted(small_service: Running) -> None:
    """Each row is a prediction."""
    before = sum(small_service.samples("ml_predictions_total").values())
    small_service.client.post(PREDICT, json={"instances": [ROW] * 3})
    assert sum(small_service.samples("ml_predictions_total").values()) == before + 3


def test_a_body_without_a_content_type_is_read(small_service: Running) -> None:
    """TensorFlow Serving's clients send none."""
    sent = json.dumps({"instances": [ROW]}).encode()
    assert small_service.client.post(PREDICT, content=sent).status_code == 200


@pytest.mark.parametrize(
    ("path", "sent", "status", "said"),
    [
        (PREDICT, b"{", 400, "the body is not JSON"),
        (PREDICT, b"{}", 400, "missing required field `instances`"),
        (PREDICT, json.dumps({"instances": [ROW, ROW | {"age": "old"}]}).encode(), 400, "row 1: field 'age'"),
        (PREDICT, json.dumps({"instances": [ROW | {"plan": "gold"}]}).encode(), 400, "field 'plan'"),
        ("/v1/models/large:predict", b"{}", 404, "there is no model 'large'"),
    ],
)
def test_bad_requests_are_named_and_counted(
    small_service: Running, path: str, sent: bytes, status: int, said: str
) -> None:
    """What does not fit is told in the protocol's shape and counted as rejected once."""
    before = small_service.parts.recorder.errors()
    response = small_service.client.post(path, content=sent)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]
    assert small_service.parts.recorder.errors() == before | {"rejected": before["rejected"] + 1}
