"""Large bodies are answered as small ones are, and hostile ones cheaply."""

import gzip
import json
from typing import Any

import pytest

from tests.service.running import Running

ROW: dict[str, Any] = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
JSON = {"content-type": "application/json"}
V1, V2 = "/v1/models/small:predict", "/v2/models/small/infer"
LIMIT = 16 * 1024 * 1024


def filled(start: bytes, unit: bytes, end: bytes) -> bytes:
    """A body of nearly 16 MB."""
    return start + unit * ((LIMIT - 1000) // len(unit)) + end


HOSTILE = {
    "empty rows": ("/predict/model", filled(b'{"instances":[', b"{},", b"{}]}"), 422),
    "empty lists": (V1, filled(b'{"instances":[', b"[],", b"[]]}"), 400),
    "one row with a field many times": ("/predict/model", filled(b'{"instances":[{', b'"age":1,', b'"age":1}]}'), 413),
    "lists in parameters": (V2, filled(b'{"parameters":{"a":[', b"[],", b'1]},"inputs":[]}'), 413),
    "lists in an unread field": (V1, filled(b'{"a":[', b"[[],[]],", b'1],"instances":[]}'), 400),
    "tensors": (V2, filled(b'{"inputs":[', b"{},", b"{}]}"), 413),
    "elements": (V2, filled(b'{"inputs":[{"name":"age","shape":[1],"datatype":"FP64","data":[', b"1,", b"1]}]}"), 413),
    "brackets": ("/predict/model", b"[" * LIMIT, 413),
    "labels": ("/feedback", filled(b'{"labels":[', b'{"prediction_id":"","actual":1},', b"1]}"), 413),
    "lists as a label": ("/feedback", filled(b'{"labels":[{"prediction_id":"","actual":[', b"[],", b"1]}]}"), 413),
    "quotes": ("/predict/model", b'"' * LIMIT, 422),
    "one long word": ("/predict/model", filled(b'{"instances":[{"city":"', b"x", b'"}]}'), 422),
}


@pytest.mark.parametrize(("path", "body", "status"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_are_refused(small_service: Running, path: str, body: bytes, status: int) -> None:
    """16 MB of anything are refused with a short answer."""
    response = small_service.client.post(path, content=body, headers=JSON)
    assert (response.status_code, len(response.content) < 2000) == (status, True), response.text[:300]


@pytest.mark.parametrize("path", ["/predict/model", V1])
@pytest.mark.parametrize("is_packed", [False, True])
def test_many_rows_are_answered_in_their_order(small_service: Running, path: str, is_packed: bool) -> None:
    """Rows of several pieces are predicted as they are alone."""
    rows = [ROW | {"age": age % 90, "income": 1.5 * age} for age in range(10_000)]
    content = json.dumps({"instances": rows}).encode()
    headers = JSON | ({"content-encoding": "gzip"} if is_packed else {})
    response = small_service.client.post(
        path, content=gzip.compress(content) if is_packed else content, headers=headers
    )
    predictions = response.raise_for_status().json()["predictions"]
    assert len(predictions) == len({each["prediction_id"] for each in predictions}) == 10_000
    some = list(range(0, 10_000, 777))
    alone = small_service.predict([rows[index] for index in some]).json()["predictions"]
    assert [predictions[index]["probabilities"] for index in some] == [
        pytest.approx(each["probabilities"]) for each in alone
    ]


@pytest.mark.parametrize("path", ["/predict/model", V1])
def test_a_wrong_row_is_named_by_its_number(small_service: Running, path: str) -> None:
    """The number of a row counts from the beginning of the body, whatever piece it is in."""
    rows = [ROW] * 9_000 + [ROW | {"age": "old"}]
    response = small_service.client.post(path, json={"instances": rows})
    assert "row 9000" in response.text
    assert "age" in response.text
