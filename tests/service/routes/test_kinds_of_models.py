"""Regressions, classifiers without probabilities, and inputs of every type, through both protocols."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.profiling import make_bundle
from tests.service.running import Running, running

TYPES = {"area": "FP64", "rooms": "INT64", "has_garden": "BOOL", "zone": "INT64"}


@pytest.fixture(scope="module")
def houses() -> pd.DataFrame:
    """Returns 200 houses with a float, an integer, a boolean, and a category that is an integer."""
    random = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "area": random.normal(120, 30, 200),
            "rooms": random.integers(1, 9, 200),
            "has_garden": random.random(200) < 0.5,
            "zone": random.choice([10, 20, 30], 200),
        }
    )


def fitted(estimator: Any, houses: pd.DataFrame, labels: "pd.Series[Any]") -> Pipeline:
    """Returns a pipeline that encodes the zone and passes the rest through."""
    zone = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    preprocess = ColumnTransformer([("zone", zone, ["zone"])], remainder="passthrough")
    return Pipeline([("preprocess", preprocess), ("estimate", estimator)]).fit(houses, labels)


@pytest.fixture(scope="module")
def prices(houses: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Pipeline]]:
    """Serves a regression over real HTTP."""
    labels = houses["area"] * 3 + houses["zone"] + houses["rooms"] ** 2
    model = fitted(LinearRegression(), houses, labels)
    folder = tmp_path_factory.mktemp("prices") / "bundle"
    save_bundle(make_bundle(model, houses, labels, name="prices", version="1"), folder)
    with running(folder) as service:
        yield service, model


def request_of(houses: pd.DataFrame) -> dict[str, Any]:
    """Returns a request with each column as a tensor of its own type."""
    return {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [len(houses)], "data": houses[name].tolist()}
            for name, datatype in TYPES.items()
        ]
    }


def outputs_of(service: Running, path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Returns the outputs of a response, by name."""
    response = service.client.post(path, json=request)
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def houses_counted(service: Running, zone: str) -> int:
    """Returns how many rows had this zone, from `/metrics`."""
    samples = service.samples("ml_feature_categories_total").items()
    return sum(int(value) for labels, value in samples if ("category", zone) in labels)


def test_a_regression_answers_values(prices: tuple[Running, Pipeline], houses: pd.DataFrame) -> None:
    """Under both protocols the values are those of the model, for columns of their own types."""
    service, model = prices
    expected = model.predict(houses).tolist()
    outputs = outputs_of(service, "/v2/models/prices/infer", request_of(houses))
    assert list(outputs) == ["value", "prediction_id"]
    assert (outputs["value"]["datatype"], outputs["value"]["shape"]) == ("FP64", [200])
    np.testing.assert_allclose(outputs["value"]["data"], expected, rtol=1e-12)
    rows = service.client.post("/v1/models/prices:predict", json={"instances": houses.values.tolist()}).json()
    np.testing.assert_allclose([row["value"] for row in rows["predictions"]], expected, rtol=1e-12)
    assert all(row.keys() == {"prediction_id", "value"} for row in rows["predictions"])


def test_types_are_described(prices: tuple[Running, Pipeline]) -> None:
    """The metadata has each input's type as training had it, and the example of each route works."""
    service, _ = prices
    metadata = service.client.get("/v2/models/prices").json()
    assert {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]} == TYPES
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["value", "prediction_id"]
    path = "the fast path: LinearRegression folded into one term per input"
    assert metadata["parameters"] == {"task": "regression", "path": path}
    paths = service.client.get("/openapi.json").json()["paths"]
    for path in ("/v1/models/{name}:predict", "/v2/models/{name}/infer"):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert service.client.post(path.replace("{name}", "prices"), json=example).status_code == 200


@pytest.mark.parametrize(
    ("name", "datatype", "data"),
    [
        ("rooms", "FP32", [3.0]),
        ("has_garden", "UINT8", [1]),
        ("zone", "FP64", [20.0]),
        ("zone", "UINT8", [20]),
    ],
)
def test_one_number_is_read_for_another(
    prices: tuple[Running, Pipeline], name: str, datatype: str, data: list[Any]
) -> None:
    """A number, a boolean and a category that is a number are the same under another datatype."""
    service, _ = prices
    house = pd.DataFrame({"area": [100.0], "rooms": [3], "has_garden": [True], "zone": [20]})
    request = request_of(house)
    expected = outputs_of(service, "/v2/models/prices/infer", request)["value"]["data"]
    tensor = next(tensor for tensor in request["inputs"] if tensor["name"] == name)
    tensor |= {"datatype": datatype, "data": data}
    before = houses_counted(service, "20")
    assert outputs_of(service, "/v2/models/prices/infer", request)["value"]["data"] == expected
    assert houses_counted(service, "20") == before + 1


@pytest.mark.parametrize(
    ("name", "datatype", "said"),
    [
        ("rooms", "BOOL", "input 'rooms': its datatype is 'BOOL'; send FP64 or "),
        ("has_garden", "BYTES", "input 'has_garden': its datatype is 'BYTES'; send BOOL or FP64 or "),
        ("zone", "BYTES", "input 'zone': its datatype is 'BYTES'; send FP64 or "),
    ],
)
def test_no_word_is_read_for_a_number(
    prices: tuple[Running, Pipeline], houses: pd.DataFrame, name: str, datatype: str, said: str
) -> None:
    """A tensor of another kind than the input is refused by name."""
    request = request_of(houses)
    next(tensor for tensor in request["inputs"] if tensor["name"] == name)["datatype"] = datatype
    response = prices[0].client.post("/v2/models/prices/infer", json=request)
    assert response.status_code == 400
    assert said in response.json()["error"]


def test_a_classifier_without_probabilities_answers_outcomes(houses: pd.DataFrame, tmp_path: Path) -> None:
    """Outcomes are those of a model with three classes and no probabilities, and none are documented."""
    labels = pd.Series(np.select([houses["area"] > 140, houses["rooms"] > 5], ["large", "many"], "small"))
    model = fitted(LinearSVC(random_state=0, C=1e-4), houses, labels)
    save_bundle(make_bundle(model, houses, labels, name="sizes", version="1"), tmp_path / "bundle")
    with running(tmp_path / "bundle") as service:
        outputs = outputs_of(service, "/v2/models/sizes/infer", request_of(houses))
        rows = service.client.post("/v1/models/sizes:predict", json={"inputs": houses.values.tolist()}).json()
        metadata = service.client.get("/v2/models/sizes").json()
        unknown = request_of(houses) | {"outputs": [{"name": "probabilities"}]}
        refused = service.client.post("/v2/models/sizes/infer", json=unknown)
    expected = model.predict(houses).tolist()
    assert list(outputs) == ["outcome", "prediction_id"] == [tensor["name"] for tensor in metadata["outputs"]]
    assert outputs["outcome"]["data"] == expected
    assert [row["outcome"] for row in rows["predictions"]] == expected
    assert refused.json() == {"error": "output 'probabilities': the model has outcome, prediction_id"}
