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


def test_rows_may_be_lists(small_service: Running) -> None:
    """Rows that are lists have their values in the order of the training data: `city`, `age`, `plan`, `income`."""
    rows: list[list[Any]] = [["Bern", None, "paid", 2000], [None, 41, "free", 1.5]]
    named = [dict(zip(("city", "age", "plan", "income"), row, strict=True)) for row in rows]
    answers = [
        small_service.client.post(PREDICT, json=sent).json()["predictions"]
        for sent in ({"instances": named}, {"instances": rows}, {"inputs": rows, "signature_name": "serving_default"})
    ]
    probabilities = [[row["probabilities"] for row in answer] for answer in answers]
    assert probabilities[0] == probabilities[1] == probabilities[2]


def test_rows_are_counted(small_service: Running) -> None:
    """Each row is counted as one prediction."""
    before = sum(small_service.samples("ml_predictions_total").values())
    small_service.client.post(PREDICT, json={"instances": [ROW] * 3})
    assert sum(small_service.samples("ml_predictions_total").values()) == before + 3


def test_a_body_without_a_content_type_is_read(small_service: Running) -> None:
    """A body without a content type is read, because TensorFlow Serving's clients send none."""
    sent = json.dumps({"instances": [ROW]}).encode()
    assert small_service.client.post(PREDICT, content=sent).status_code == 200


UNNAMED: list[Any] = ["Bern", 30, "free", 1]
BAD: dict[str, tuple[Any, str]] = {
    "an array": ([], "the body is no request for predictions: Expected `object`, got `array`"),
    "nothing": ({}, "the body has no instances"),
    "no list": ({"instances": 7}, "Expected `array`, got `int`"),
    "no rows": ({"instances": []}, "Expected `array` of length >= 1"),
    "too many rows": ({"instances": [ROW] * 10_001}, "more than 10000 rows"),
    "a word for a number": ({"instances": [ROW, ROW | {"age": "old"}]}, "row 1: field 'age': Expected `float | null`"),
    "the same in a list": ({"instances": [UNNAMED, ["Bern", "old", "free", 1]]}, "row 1: field 'age': Expected `float"),
    "a list too short": ({"instances": [UNNAMED, UNNAMED[:3]]}, "row 1: Expected `array` of at least length 4"),
    "a list too long": ({"instances": [[*UNNAMED, 1]]}, "Expected `array` of at most length 4"),
    "a row unlike the first": ({"instances": [UNNAMED, ROW]}, "row 1: Expected `array`, got `object`"),
    "a category that the encoder refuses": ({"instances": [ROW | {"plan": "gold"}]}, "field 'plan': the category"),
}


@pytest.mark.parametrize(("sent", "said"), BAD.values(), ids=BAD.keys())
def test_bad_requests_are_named_and_counted(small_service: Running, sent: Any, said: str) -> None:
    """A body that does not fit is answered in the protocol's shape and counted as rejected once."""
    before = small_service.errors()
    response = small_service.client.post(PREDICT, json=sent)
    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]
    assert small_service.errors() == before | {"rejected": before["rejected"] + 1}


@pytest.mark.parametrize("sent", [b"", b"{", b'{"instances": [[NaN]]}', b'{"instances": ["\xff"]}', b"[" * 100_000])
def test_bodies_that_are_no_json_are_counted(small_service: Running, sent: bytes) -> None:
    """A body that is not JSON is answered 400 in the protocol's shape, and counted."""
    before = small_service.errors()["rejected"]
    response = small_service.client.post(PREDICT, content=sent)
    assert (response.status_code, response.json().keys()) == (400, {"error"})
    assert small_service.errors()["rejected"] == before + 1


def test_another_model_is_unknown(small_service: Running) -> None:
    """A request for another model is answered 404 in the protocol's shape and counted as rejected."""
    before = small_service.errors()["rejected"]
    response = small_service.client.post("/v1/models/large:predict", json={"instances": [ROW]})
    assert (response.status_code, response.json()) == (
        404,
        {"error": "there is no model 'large'; 'small' is served here"},
    )
    assert small_service.errors()["rejected"] == before + 1
