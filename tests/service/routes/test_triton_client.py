"""Triton's client of the Open Inference Protocol gets its answers over real HTTP."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.service.running import Running

AGES, INCOMES = [30.0, float("nan"), 55.5], [2000.0, 1.0, 9000.0]
CITIES, PLANS = ["Bern", "Oslo", "Zürich"], ["free", "paid", "free"]


@pytest.fixture
def client(small_service: Running) -> Iterator[Any]:
    """Connects Triton's client to the small model."""
    with triton.InferenceServerClient(f"127.0.0.1:{small_service.port}") as client:
        yield client


def inputs(ages: list[float], *, is_binary: bool) -> list[Any]:
    """Returns the inputs of three rows."""
    made = []
    for name, datatype, values in (
        ("age", "FP64", np.array(ages)),
        ("income", "FP32", np.array(INCOMES, dtype=np.float32)),
        ("city", "BYTES", np.array(CITIES, dtype=object)),
        ("plan", "BYTES", np.array(PLANS, dtype=object)),
    ):
        tensor = triton.InferInput(name, [3], datatype)
        tensor.set_data_from_numpy(values, binary_data=is_binary)
        made.append(tensor)
    return made


def predicted(service: Running, ages: list[float]) -> list[dict[str, Any]]:
    """Returns the predict route's predictions of the same rows."""
    rows = zip(ages, INCOMES, CITIES, PLANS, strict=True)
    sent = [{"age": None if np.isnan(a) else a, "income": i, "city": c, "plan": p} for a, i, c, p in rows]
    predictions: list[dict[str, Any]] = service.predict(sent).json()["predictions"]
    return predictions


def test_it_finds_server_and_model_ready(client: Any) -> None:
    """The client reads from the metadata that the server and the served model are ready, and no other model."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "7")
    assert not client.is_model_ready("large")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("small", "7")["versions"] == ["7"]


def test_its_binary_tensors_are_predicted(client: Any, small_service: Running) -> None:
    """By default the client sends and receives binary data, in which NaN is a missing value."""
    expected = predicted(small_service, AGES)
    result = client.infer("small", inputs(AGES, is_binary=True), request_id="42")
    assert [each.decode() for each in result.as_numpy("outcome")] == [each["outcome"] for each in expected]
    probabilities = [list(each["probabilities"].values()) for each in expected]
    np.testing.assert_array_equal(result.as_numpy("probabilities"), probabilities)
    assert len(set(result.as_numpy("prediction_id"))) == 3
    assert result.get_response()["id"] == "42"
    assert "data" not in result.get_output("outcome")


def test_its_json_tensors_are_predicted(client: Any, small_service: Running) -> None:
    """If it is set to, the client sends and receives JSON."""
    ages = [30.0, 41.0, 55.5]
    wanted = [triton.InferRequestedOutput("outcome", binary_data=False)]
    result = client.infer("small", inputs(ages, is_binary=False), model_version="7", outputs=wanted)
    assert result.as_numpy("outcome").tolist() == [each["outcome"] for each in predicted(small_service, ages)]
    assert [output["name"] for output in result.get_response()["outputs"]] == ["outcome"]


@pytest.mark.parametrize(
    ("model", "kept", "status", "message"),
    [("large", 4, "404", "there is no model 'large'"), ("small", 3, "400", "input 'plan': it is missing")],
)
def test_it_raises_what_is_wrong(client: Any, model: str, kept: int, status: str, message: str) -> None:
    """The client raises its own exception with the text and the status of our error."""
    with pytest.raises(InferenceServerException, match=message) as raised:
        client.infer(model, inputs(AGES, is_binary=True)[:kept])
    assert raised.value.status() == status
