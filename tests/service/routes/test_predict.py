"""`POST /predict/model` over real HTTP: the pipeline's own answers, traced and counted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from sightline_service.bundles.bundle import load_bundle, save_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_service.demo.stream import FlightStream
from tests.service.running import Running, running

CALLER = "0af7651916cd43dd8448eb211c80319c"


def rows_of(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns rows as a client sends them, None where a value is missing."""
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in data.to_dict("records")]


def test_answers_equal_the_pipeline(
    small_service: Running, small_model: Pipeline, small_data: tuple[pd.DataFrame, "pd.Series[str]"]
) -> None:
    """Outcomes and probabilities are those of the pipeline, row by row."""
    data, _ = small_data
    answer = small_service.predict(rows_of(data)).json()
    assert [each["outcome"] for each in answer["predictions"]] == small_model.predict(data).tolist()
    ours = np.array([[each["probabilities"][c] for c in ("no", "yes")] for each in answer["predictions"]])
    np.testing.assert_allclose(ours, small_model.predict_proba(data), rtol=0, atol=1e-12)
    assert answer["model"] == {"name": "small", "version": "7"}
    assert len({each["prediction_id"] for each in answer["predictions"]}) == len(data)


@pytest.mark.slow
def test_10000_flights_in_one_request(flights_bundle: Path) -> None:
    """10,000 rows in one request are predicted as by the pipeline, probabilities within 1e-12, and each is counted."""
    instances = FlightStream().take(10_000)
    bundle = load_bundle(flights_bundle)
    data = pd.DataFrame(instances)[list(bundle.profile.order)]
    data = data.astype({feature.name: np.float64 for feature in bundle.profile.numeric})
    with running(flights_bundle) as service:
        answer = service.predict(instances).json()["predictions"]
        counted = service.samples("ml_predictions_total")
    assert [each["outcome"] for each in answer] == bundle.model.predict(data).tolist()
    ours = [list(each["probabilities"].values()) for each in answer]
    np.testing.assert_allclose(ours, bundle.model.predict_proba(data), rtol=0, atol=1e-12)
    assert sum(counted.values()) == 10_000


def test_the_documented_example_works(small_service: Running) -> None:
    """The example in the OpenAPI schema is made of medians and most frequent categories, and works as it stands."""
    schema = small_service.client.get("/openapi.json").json()
    operation = schema["paths"]["/predict/model"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    example = schema["components"]["schemas"][reference.rpartition("/")[2]]["example"]
    assert example["instances"][0]["city"] == "Bern"
    response = small_service.client.post("/predict/model", json=example)
    assert response.status_code == 200
    assert set(operation["responses"]) == {"200", "400", "413", "415", "422", "500", "503"}


def test_a_callers_trace_is_joined(small_service: Running) -> None:
    """A sampled `traceparent` gives its trace id to the response and its span as parent, and the trace is kept."""
    headers = {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01"}
    response = small_service.predict([{"age": 1, "income": 2, "city": "Oslo", "plan": "paid"}], headers=headers)
    assert response.json()["trace_id"] == CALLER
    version, trace_id, span_id, flags = response.headers["traceresponse"].split("-")
    assert (version, trace_id, flags) == ("00", CALLER, "01")
    trace = small_service.client.get(f"/traces/{CALLER}").json()
    spans = {span["name"]: span for span in trace["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    assert set(spans) == {"POST /predict/model", "queue", "predict", "preprocess", "classify"}
    server = spans["POST /predict/model"]
    assert (server["parentSpanId"], server["spanId"]) == ("b7ad6b7169203331", span_id)
    attributes = {a["key"]: next(iter(a["value"].values())) for a in spans["predict"]["attributes"]}
    assert attributes["model.name"] == "small"
    assert attributes["ml.request.rows"] == "1"
    assert attributes["ml.prediction.id"] == response.json()["predictions"][0]["prediction_id"]
    assert "Oslo" not in str(trace)


def test_every_exemplar_resolves(small_service: Running) -> None:
    """Each exemplar of `/metrics` leads to a trace of the ring, whose duration is the exemplar's value."""
    for delay in (0, 0.01, 0.05):
        small_service.client.get("/predict/random", params={"time_delay_scale": delay})
    text = small_service.client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text
    exemplars = [line.partition(" # ")[2] for line in text.splitlines() if " # {" in line]
    assert len(exemplars) >= 2
    for exemplar in exemplars:
        trace_id, value = exemplar.partition('trace_id="')[2][:32], float(exemplar.split()[1])
        spans = small_service.client.get(f"/traces/{trace_id}").json()["resourceSpans"][0]["scopeSpans"][0]["spans"]
        durations = [int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) for span in spans]
        assert any(abs(duration / 1e9 - value) < 1e-6 for duration in durations)


def test_requests_that_wait_together_are_predicted_together(
    small_data: tuple[pd.DataFrame, "pd.Series[str]"], tmp_path: Path
) -> None:
    """Requests that arrive while a slow model runs are all predicted in its next run."""
    data, labels = small_data[0][["income"]], small_data[1]
    forest = RandomForestClassifier(50, random_state=0).fit(data, labels)
    save_bundle(make_bundle(forest, data, labels, "forest", "1"), tmp_path / "bundle")
    with running(tmp_path / "bundle", trusted_types="sklearn.tree._tree.Tree") as service:
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda _: service.predict([{"income": 900.0}]).json(), range(160)))
        forest = frozenset({("model_name", "forest"), ("model_version", "1")})
        n_rows, n_batches = (service.samples(f"ml_prediction_batch_size_{of}")[forest] for of in ("sum", "count"))
    assert {answer["predictions"][0]["outcome"] for answer in answers} == {answers[0]["predictions"][0]["outcome"]}
    assert n_rows == 160
    assert n_batches < 120
