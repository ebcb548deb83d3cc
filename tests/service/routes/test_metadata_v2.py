"""The metadata of server and model in the protocols of other model servers, and the API's own description."""

from typing import Any

import pytest

from tests.service.running import Running


def paths_of(service: Running, prefix: str) -> dict[str, dict[str, Any]]:
    """Returns the documented operations below a prefix, by method and path."""
    paths = service.client.get("/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, operations in paths.items()
        if path.startswith(prefix)
        for method, operation in operations.items()
    }


@pytest.mark.parametrize("path", ["/v2/models/small", "/v2/models/small/versions/7"])
def test_the_model_is_described(small_service: Running, path: str) -> None:
    """The metadata lists the inputs in the order of the training data, and names the classes of the probabilities."""
    assert small_service.client.get(path).json() == {
        "name": "small",
        "versions": ["7"],
        "platform": "sklearn_skops",
        "inputs": [
            {"name": "city", "datatype": "BYTES", "shape": [-1]},
            {"name": "age", "datatype": "FP64", "shape": [-1]},
            {"name": "plan", "datatype": "BYTES", "shape": [-1]},
            {"name": "income", "datatype": "FP64", "shape": [-1]},
        ],
        "outputs": [
            {"name": "outcome", "datatype": "BYTES", "shape": [-1]},
            {
                "name": "probabilities",
                "datatype": "FP64",
                "shape": [-1, 2],
                "parameters": {"classes": ["no", "yes"]},
            },
            {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
        ],
        "parameters": {
            "task": "binary",
            "path": "the fast path: LogisticRegression folded into one term per input",
        },
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models", {"models": ["small"]}),
        ("/v1/models/small", {"name": "small", "ready": True}),
        ("/v2", {"name": "sightline", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"live": True, "ready": True}),
        ("/v2/models/small/ready", {"name": "small", "ready": True}),
        ("/v2/models/small/versions/7/ready", {"name": "small", "ready": True}),
    ],
)
def test_server_and_model_are_ready(small_service: Running, path: str, expected: dict[str, Any]) -> None:
    """A running service is ready in the words of each protocol."""
    response = small_service.client.get(path)
    assert (response.status_code, response.json()) == (200, expected)


@pytest.mark.parametrize(
    "path", ["/v1/models/small", "/v2/health/ready", "/v2/models/small/ready", "/v2/models/small/versions/7/ready"]
)
def test_a_service_that_stops_is_not_ready(small_service: Running, path: str) -> None:
    """A request for readiness is answered 503 while the service is not ready."""
    small_service.parts.is_ready = False
    try:
        response = small_service.client.get(path)
    finally:
        small_service.parts.is_ready = True
    assert (response.status_code, response.json()) == (503, {"error": "the model 'small' is not ready"})


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/large",
        "/v2/models/large",
        "/v2/models/large/ready",
        "/v2/models/small/versions/8",
        "/v2/models/small/versions/8/ready",
    ],
)
def test_other_models_are_unknown(small_service: Running, path: str) -> None:
    """A request about another model or version is answered 404 in the protocols' shape, and counted nowhere."""
    before = small_service.errors()
    response = small_service.client.get(path)
    assert response.status_code == 404
    assert "served here" in response.json()["error"]
    assert small_service.errors() == before


@pytest.mark.parametrize(
    "operation",
    [
        "POST /v1/models/{name}:predict",
        "POST /v2/models/{name}/infer",
        "POST /v2/models/{name}/versions/{version}/infer",
    ],
)
def test_documented_examples_work(small_service: Running, operation: str) -> None:
    """The example in the API's description works as it stands, and the answer has the described fields."""
    described = paths_of(small_service, "/v")[operation]
    example = described["requestBody"]["content"]["application/json"]["example"]
    path = operation.partition(" ")[2].replace("{name}", "small").replace("{version}", "7")
    assert small_service.client.post(path, json=example).status_code == 200
    assert set(described["responses"]) == {"200", "400", "403", "404", "413", "415", "500", "503"}


def test_every_documented_answer_has_a_series(small_service: Running) -> None:
    """Each documented status of each route has a series under the route's template; no model's name is a label."""
    client = small_service.client
    client.get("/v2/models/large")
    client.post("/v1/models/large:predict", json={})
    kinds = {
        (f"{kind['http_request_method']} {kind.get('http_route', '')}", kind["http_response_status_code"])
        for kind in map(dict, small_service.samples("http_server_request_duration_seconds_count"))
    }
    operations = paths_of(small_service, "/v")
    assert len(operations) == 12
    for name, operation in operations.items():
        assert {status for route, status in kinds if route == name} >= set(operation["responses"])
    assert not [route for route, _ in kinds if "large" in route or "small" in route]
