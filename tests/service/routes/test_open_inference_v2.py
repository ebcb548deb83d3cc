"""The Open Inference Protocol over real HTTP: the predict route's own answers as tensors, and errors that name one."""

import json
import struct
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from tests.service.running import Running

ROW: dict[str, Any] = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
ROWS: list[dict[str, Any]] = [ROW, ROW | {"age": None, "city": None}, ROW | {"city": "Atlantis", "plan": "paid"}]
INFER = "/v2/models/small/infer"


def request_of(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Returns an inference request with one tensor per feature."""
    datatypes = {"age": "FP64", "income": "FP64", "city": "BYTES", "plan": "BYTES"}
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": datatype, "data": [row[name] for row in rows]}
        for name, datatype in datatypes.items()
    ]
    return {"inputs": inputs, **more}


def changed(index: int = 0, **changes: Any) -> dict[str, Any]:
    """Returns a request of one row with one of its inputs (age, income, city, plan) changed; `...` removes a key."""
    request = request_of([ROW])
    tensor = request["inputs"][index] | changes
    request["inputs"][index] = {key: value for key, value in tensor.items() if value is not ...}
    return request


def outputs_of(response: httpx.Response) -> dict[str, dict[str, Any]]:
    """Returns the outputs of a response, by name."""
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def grown(service: Running, name: str, act: Callable[[], object]) -> dict[tuple[str, ...], int]:
    """Yields by how much each series of a metric grows meanwhile, by its labels without those of the model."""
    before = service.samples(name)
    act()
    after = service.samples(name)
    assert after.keys() == before.keys()
    return {
        tuple(value for label, value in sorted(labels) if not label.startswith("model_")): int(n - before[labels])
        for labels, n in after.items()
        if n != before[labels]
    }


def test_outputs_are_the_predictions(small_service: Running) -> None:
    """Outcomes and probabilities are those of the predict route, and each row has an id of its own."""
    predictions = small_service.predict(ROWS).json()["predictions"]
    response = small_service.client.post(INFER, json=request_of(ROWS, id="42", parameters={"unknown": 1}))
    outputs = outputs_of(response)
    assert list(outputs) == ["outcome", "probabilities", "prediction_id"]
    assert outputs["outcome"] == {
        "name": "outcome",
        "datatype": "BYTES",
        "shape": [3],
        "data": [each["outcome"] for each in predictions],
    }
    assert (outputs["probabilities"]["datatype"], outputs["probabilities"]["shape"]) == ("FP64", [3, 2])
    assert outputs["probabilities"]["data"] == [p for each in predictions for p in each["probabilities"].values()]
    assert outputs["prediction_id"]["datatype"] == "BYTES"
    assert len(set(outputs["prediction_id"]["data"])) == 3
    head = {key: value for key, value in response.json().items() if key != "outputs"}
    trace_id = response.headers["traceresponse"].split("-")[1]
    assert head == {
        "model_name": "small",
        "model_version": "7",
        "id": "42",
        "parameters": {"trace_id": trace_id},
    }


def test_600_rows_equal_the_pipeline(
    small_service: Running, small_model: Pipeline, small_data: tuple[pd.DataFrame, "pd.Series[str]"]
) -> None:
    """The probabilities of 600 rows, a missing value in many, are those of the pipeline itself."""
    data, _ = small_data
    rows = [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in data.to_dict("records")]
    outputs = outputs_of(small_service.client.post(INFER, json=request_of(rows)))
    assert outputs["outcome"]["data"] == small_model.predict(data).tolist()
    ours = np.array(outputs["probabilities"]["data"]).reshape(outputs["probabilities"]["shape"])
    np.testing.assert_allclose(ours, small_model.predict_proba(data), rtol=0, atol=1e-12)


def test_rows_are_counted_as_by_the_predict_route(small_service: Running) -> None:
    """The same rows increase the same series by the same numbers on both routes."""
    for name in ("ml_predictions_total", "ml_feature_categories_total", "ml_feature_missing_total"):
        by_predict = grown(small_service, name, lambda: small_service.predict(ROWS))
        by_infer = grown(small_service, name, lambda: small_service.client.post(INFER, json=request_of(ROWS)))
        assert by_infer == by_predict
        assert by_infer


@pytest.mark.parametrize(
    "datatype", ["FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8"]
)
def test_every_kind_of_number_is_read(small_service: Running, datatype: str) -> None:
    """A number is the same number whatever its datatype."""
    expected = small_service.predict([ROW]).json()["predictions"][0]["probabilities"]
    outputs = outputs_of(small_service.client.post(INFER, json=changed(datatype=datatype, data=[30])))
    assert outputs["probabilities"]["data"] == list(expected.values())


@pytest.mark.parametrize("data", [[30.0, None], [[30.0], [None]]])
def test_a_column_may_have_two_dimensions(small_service: Running, data: list[Any]) -> None:
    """A tensor of shape [rows, 1] is read, flat or nested, beside others of shape [rows]."""
    request = request_of([ROW, ROW | {"age": None}])
    expected = outputs_of(small_service.client.post(INFER, json=request))["probabilities"]["data"]
    request["inputs"][0] |= {"shape": [2, 1], "data": data}
    assert outputs_of(small_service.client.post(INFER, json=request))["probabilities"]["data"] == expected


def test_outputs_are_chosen(small_service: Running) -> None:
    """The response has only the requested outputs, in their order."""
    wanted = [{"name": "prediction_id"}, {"name": "outcome"}]
    outputs = outputs_of(small_service.client.post(INFER, json=request_of([ROW], outputs=wanted)))
    assert list(outputs) == ["prediction_id", "outcome"]


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", None])
def test_content_types_of_its_clients_are_read(small_service: Running, content_type: str | None) -> None:
    """JSON is read under the types that clients of the protocol send, and without any."""
    headers = {} if content_type is None else {"content-type": content_type}
    sent = json.dumps(request_of([ROW])).encode()
    assert small_service.client.post(INFER, content=sent, headers=headers).status_code == 200


TWO = [ROW, ROW]
BAD: dict[str, tuple[Any, str]] = {
    "no request": ([], "Expected `object`"),
    "no inputs": ({}, "missing required field `inputs`"),
    "inputs without a name": ({"inputs": [{}]}, "`name` - at `$.inputs[0]`"),
    "another name": (changed(name="wage"), "input 'wage': the model has no such input"),
    "a name at any length": (changed(name="wage" * 10_000), "input 'wagewage"),
    "twice the same": (
        {"inputs": [*request_of([ROW])["inputs"], changed()["inputs"][0]]},
        "input 'age': it is there twice",
    ),
    "one missing": ({"inputs": request_of([ROW])["inputs"][:3]}, "input 'plan': it is missing"),
    "no inputs at all": ({"inputs": []}, "it is missing"),
    "no data": (changed(data=...), "input 'age': it has no data"),
    "data is null": (changed(data=None), "input 'age': Expected `array`, got `null`"),
    "data is no list": (changed(data=30), "input 'age': Expected `array`, got `int`"),
    "another datatype": (changed(datatype="BYTES"), "input 'age': its datatype is 'BYTES'; send FP64 or FP32 or "),
    "an unknown datatype": (changed(datatype="float64"), "input 'age': its datatype is 'float64'"),
    "truths for numbers": (changed(datatype="BOOL", data=[True]), "input 'age': its datatype is 'BOOL'"),
    "numbers for words": (changed(2, datatype="FP64", data=[1]), "input 'city': its datatype is 'FP64'; send BYTES"),
    "a word among numbers": (changed(data=["old"]), "input 'age', element 0: Expected `float | null`, got `str`"),
    "a number among words": (changed(2, data=[7]), "input 'city', element 0: Expected `str | null`, got `int`"),
    "a fraction in integers": (changed(datatype="INT64", data=[1.5]), "input 'age', element 0: Expected `int | null`"),
    "an integer too large": (changed(datatype="UINT8", data=[300]), "input 'age', element 0: Expected `int` <= 255"),
    "an integer too small": (changed(datatype="UINT8", data=[-1]), "input 'age', element 0: Expected `int` >= 0"),
    "an enormous integer": (changed(datatype="UINT64", data=[10**400]), "input 'age', element 0"),
    "a missing value where none may be": (
        changed(3, data=[None]),
        "input 'plan', element 0: Expected `str`, got `null`",
    ),
    "a category that the encoder refuses": (changed(3, data=["gold"]), "field 'plan': the category 'gold'"),
    "no dimension": (changed(shape=[]), "input 'age': its shape is []"),
    "a second dimension": (changed(shape=[1, 2], data=[1, 2]), "input 'age': its shape is [1, 2]"),
    "a third dimension": (changed(shape=[1, 1, 1]), "input 'age': its shape is [1, 1, 1]"),
    "a negative shape": (changed(shape=[-1]), "Expected `int` >= 0 - at `$.inputs[0].shape[0]`"),
    "no rows": (changed(shape=[0], data=[]), "input 'age': it has 0 rows; send between 1 and 10000"),
    "10,001 rows": (changed(shape=[10_001]), "input 'age': it has 10001 rows; send between 1 and 10000"),
    "too little data": (changed(data=[]), "input 'age': it has 0 elements, and its shape [1] wants 1"),
    "too much data": (changed(data=[1, 2]), "input 'age': it has 2 elements, and its shape [1] wants 1"),
    "rows of another number": (
        {"inputs": [*request_of(TWO)["inputs"][:3], changed()["inputs"][0] | {"name": "plan"}]},
        "input 'plan': it has 1 rows, and input 'age' has 2",
    ),
    "nested without a second dimension": (changed(data=[[30.0]]), "input 'age', element 0: Expected `float | null`"),
    "nested too wide": (
        changed(shape=[1, 1], data=[[1, 2]]),
        "input 'age', element 0: Expected `array` of length <= 1",
    ),
    "nested too deep": (changed(shape=[1, 1], data=[[[1]]]), "input 'age', element 0: Expected `float | null`"),
    "shared memory": (
        changed(data=..., parameters={"shared_memory_region": "x"}),
        "input 'age': it is in shared memory, which is not supported",
    ),
    "binary data that is not announced": (
        changed(data=..., parameters={"binary_data_size": 8}),
        "input 'age': it has a binary_data_size, but there is no Inference-Header-Content-Length",
    ),
    "an unknown output": (request_of([ROW], outputs=[{"name": "mood"}]), "output 'mood': the model has outcome, "),
    "the same output twice": (
        request_of([ROW], outputs=[{"name": "outcome"}, {"name": "outcome"}]),
        "output 'outcome': it is asked for twice",
    ),
    "a classification": (
        request_of([ROW], outputs=[{"name": "probabilities", "parameters": {"classification": 1}}]),
        "output 'probabilities': classification is not supported",
    ),
}


@pytest.mark.parametrize(("sent", "said"), BAD.values(), ids=BAD.keys())
def test_bad_tensors_are_named_and_counted(small_service: Running, sent: Any, said: str) -> None:
    """A request that does not fit is answered 400 with the name of the tensor, and counted as rejected once."""
    before = small_service.errors()
    response = small_service.client.post(INFER, json=sent)
    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]
    assert len(response.content) < 1000
    assert small_service.errors() == before | {"rejected": before["rejected"] + 1}


@pytest.mark.parametrize("sent", [b"", b"{", b'{"inputs": [NaN]}', b'"\xff"', b"[" * 100_000])
def test_bodies_that_are_no_json_are_counted(small_service: Running, sent: bytes) -> None:
    """A body that is not JSON is answered 400 in the protocol's shape, and counted."""
    before = small_service.errors()["rejected"]
    response = small_service.client.post(INFER, content=sent)
    assert (response.status_code, response.json().keys()) == (400, {"error"})
    assert small_service.errors()["rejected"] == before + 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/models/large/infer", "there is no model 'large'; 'small' is served here"),
        ("/v2/models/small/versions/8/infer", "there is no version '8' of 'small'; '7' is served here"),
    ],
)
def test_other_models_are_unknown(small_service: Running, path: str, said: str) -> None:
    """A request for another model or version is answered 404 in the protocol's shape and counted as rejected."""
    before = small_service.errors()["rejected"]
    response = small_service.client.post(path, json=request_of([ROW]))
    assert (response.status_code, response.json()) == (404, {"error": said})
    assert small_service.errors()["rejected"] == before + 1


def test_errors_of_http_have_the_protocols_shape(small_service: Running) -> None:
    """A body too large or of another type, a wrong method and an unknown path are answered `{"error": ...}` too."""
    client = small_service.client
    answers = [
        client.post(INFER, content=b" " * 17_000_000),
        client.post(INFER, content=b"{}", headers={"content-type": "text/plain"}),
        client.get(INFER),
        client.get("/v2/models/small/stats"),
    ]
    assert [answer.status_code for answer in answers] == [413, 415, 405, 404]
    assert all(answer.json().keys() == {"error"} for answer in answers)


def binary_request(*parts: bytes, sizes: dict[int, Any], head: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns body and headers of a request of one row with binary data of these sizes as inputs at these indices."""
    request = head or request_of([ROW])
    for index, size in sizes.items():
        del request["inputs"][index]["data"]
        request["inputs"][index]["parameters"] = {"binary_data_size": size}
    sent = json.dumps(request).encode()
    return {"content": sent + b"".join(parts), "headers": {"inference-header-content-length": str(len(sent))}}


NAN, INFINITY = struct.pack("<d", float("nan")), struct.pack("<d", float("inf"))
OSLO = struct.pack("<I", 4) + b"Oslo"


def test_binary_inputs_may_stand_beside_json(small_service: Running) -> None:
    """NaN in binary data is what null is in JSON, strings are read by their length, and other inputs stay JSON."""
    expected = small_service.predict([ROW | {"age": None, "city": "Oslo"}]).json()["predictions"][0]
    sent = binary_request(NAN, OSLO, sizes={0: 8, 2: 8})
    outputs = outputs_of(small_service.client.post(INFER, **sent))
    assert outputs["probabilities"]["data"] == list(expected["probabilities"].values())


BAD_BINARY: dict[str, tuple[dict[str, Any], str]] = {
    "too short": (binary_request(NAN[:4], sizes={0: 4}), "input 'age': it has 4 bytes of binary data, and its shape"),
    "less than announced": (binary_request(NAN, sizes={0: 9}), "input 'age': its binary_data_size is 9; 8 bytes are"),
    "more than announced": (binary_request(NAN, b"x", sizes={0: 8}), "1 bytes after the JSON belong to no input"),
    "a size that is text": (binary_request(NAN, sizes={0: "8"}), "got `str` - at `$.inputs[0].parameters.binary"),
    "infinite": (binary_request(INFINITY, sizes={0: 8}), "input 'age', element 0: infinite"),
    "a string too short": (binary_request(OSLO[:-1], sizes={2: 7}), "input 'city', element 0: longer than"),
    "half a length": (binary_request(OSLO[:2], sizes={2: 2}), "input 'city', element 0: not a length"),
    "no UTF-8": (binary_request(OSLO[:4] + b"\xff" * 4, sizes={2: 8}), "input 'city', element 0: not a length"),
    "two strings for one": (binary_request(OSLO * 2, sizes={2: 16}), "input 'city': it has 2 elements, and its"),
    "both kinds of data": (
        binary_request(head=changed(parameters={"binary_data_size": 8}), sizes={}),
        "input 'age': it has both data and a binary_data_size",
    ),
    "a header of 5,000 digits": (
        binary_request(sizes={}) | {"headers": {"inference-header-content-length": "9" * 5000}},
        "the header Inference-Header-Content-Length is b'9999",
    ),
    "a header that is no number": (
        binary_request(sizes={}) | {"headers": {"inference-header-content-length": "all"}},
        "the header Inference-Header-Content-Length is b'all'",
    ),
    "a header beyond the body": (
        binary_request(sizes={}) | {"headers": {"inference-header-content-length": "9999"}},
        "the header Inference-Header-Content-Length is b'9999'",
    ),
}


@pytest.mark.parametrize(("sent", "said"), BAD_BINARY.values(), ids=BAD_BINARY.keys())
def test_bad_binary_data_is_named_and_counted(small_service: Running, sent: dict[str, Any], said: str) -> None:
    """Binary data that does not fit is answered 400 with the name of the tensor, and counted as rejected once."""
    before = small_service.errors()["rejected"]
    response = small_service.client.post(INFER, **sent)
    assert response.status_code == 400
    assert said in response.json()["error"]
    assert small_service.errors()["rejected"] == before + 1


def test_a_trace_is_kept_as_on_the_predict_route(small_service: Running) -> None:
    """The trace of a sampled caller has wait, prediction, steps, the route's template and the first prediction id."""
    trace_id = "1af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    path = "/v2/models/small/versions/7/infer"
    outputs = outputs_of(small_service.client.post(path, json=request_of(ROWS), headers=headers))
    trace = small_service.client.get(f"/traces/{trace_id}").json()
    spans = {span["name"]: span for span in trace["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    server = "POST /v2/models/{name}/versions/{version}/infer"
    assert set(spans) == {server, "queue", "predict", "preprocess", "classify"}
    attributes = {a["key"]: next(iter(a["value"].values())) for a in spans["predict"]["attributes"]}
    assert attributes["ml.prediction.id"] == outputs["prediction_id"]["data"][0]
    assert attributes["ml.request.rows"] == "3"


def test_without_ids_none_are_made(small_service: Running) -> None:
    """If only other outputs are requested, no id is signed, and the trace has none."""
    trace_id = "2af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    wanted = request_of(ROWS, outputs=[{"name": "probabilities"}])
    before = sum(small_service.samples("ml_predictions_total").values())
    assert list(outputs_of(small_service.client.post(INFER, json=wanted, headers=headers))) == ["probabilities"]
    assert sum(small_service.samples("ml_predictions_total").values()) - before == len(ROWS)
    trace = small_service.client.get(f"/traces/{trace_id}").json()
    spans = {span["name"]: span for span in trace["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    assert "ml.prediction.id" not in {attribute["key"] for attribute in spans["predict"]["attributes"]}
