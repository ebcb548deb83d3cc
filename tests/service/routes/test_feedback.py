"""`POST /feedback` over real HTTP: every label is answered and counted, bad ones by their reason."""

import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from sightline_service.feedback.prediction_ids import PredictionIds, SigningKeys
from sightline_service.prediction.result import ArrayPrediction, OutputArrays
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import REASONS, JudgedModel
from tests.service.running import Running, running

KEY = "the secret of this test"
ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
MODEL = JudgedModel(ModelId("small", "7"), ("no", "yes"), has_probabilities=True)
ONE = ArrayPrediction(OutputArrays(np.array([1]), np.array([[0.25, 0.75]])), ())
MADE_UP = PredictionIds(SigningKeys([KEY]), MODEL)


@pytest.fixture(scope="module")
def bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies the small bundle into a folder of its own, so that its ledger is its own too."""
    return shutil.copytree(small_bundle, tmp_path_factory.mktemp("own") / "bundle")


@pytest.fixture(scope="module")
def service(bundle: Path) -> Iterator[Running]:
    """Serves the small model with a known key."""
    with running(bundle, feedback_keys=(KEY, "an older key of this test")) as service:
        yield service


def send(service: Running, *labels: tuple[str, Any]) -> list[str]:
    """Sends labels and returns the verdict on each."""
    body = {"labels": [{"prediction_id": prediction_id, "actual": actual} for prediction_id, actual in labels]}
    response = service.client.post("/feedback", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["counts"] == dict(Counter(answer["labels"]))
    assert len(answer["trace_id"]) == 32
    words: list[str] = answer["labels"]
    return words


def predicted(service: Running, n_rows: int = 1) -> list[str]:
    """Returns the ids of new predictions."""
    return [each["prediction_id"] for each in service.predict([ROW] * n_rows).json()["predictions"]]


def rejected(service: Running) -> dict[str, int]:
    """Returns the labels that were not counted, by reason, from `/metrics`."""
    return {dict(labels)["reason"]: int(n) for labels, n in service.samples("ml_feedback_rejected_total").items()}


def counted(service: Running) -> int:
    """Returns how many labels were counted, from `/metrics`."""
    return int(sum(service.samples("ml_feedback_total").values()))


def test_labels_are_answered_and_counted(service: Running) -> None:
    """Verdicts come in the order of the labels, and `/metrics` has counted each label before the answer is sent."""
    a, b = predicted(service, 2)
    n_counted, before = counted(service), rejected(service)
    assert send(service, (a, "yes"), (b, "no"), (a, "yes"), (b, "yes")) == [
        "accepted",
        "accepted",
        "duplicate",
        "conflict",
    ]
    assert send(service, (a, "yes")) == ["duplicate"]
    after = rejected(service)
    assert counted(service) == n_counted + 2
    assert {reason: after[reason] - before[reason] for reason in REASONS if after[reason] != before[reason]} == {
        "duplicate": 2,
        "conflict": 1,
    }


def signed(secret: str, version: str, *outcomes: str) -> str:
    """Returns an id of a model with the small one's name, signed with another key."""
    model = JudgedModel(ModelId("small", version), outcomes, has_probabilities=True)
    return PredictionIds(SigningKeys([secret]), model).make(ONE)[0]


def test_bad_ids_are_refused_and_counted(service: Running) -> None:
    """An id that another key signed, or that is of a model unknown to this ledger, is refused and counted by reason."""
    (genuine,) = predicted(service)
    bad = {
        "": "forged",
        "nonsense": "forged",
        genuine[:-1]: "forged",
        genuine[:-4]: "forged",
        genuine[4:]: "forged",
        genuine + "AAAA": "forged",
        genuine + "====": "forged",
        genuine.swapcase(): "forged",
        f"{genuine[:30]}!{genuine[31:]}": "forged",
        f" {genuine}"[:56]: "forged",
        "é" * 56: "forged",
        "A" * 1_000_000: "forged",
        signed("the secret of another service", "7", "no", "yes"): "forged",
        signed(KEY, "8", "no", "yes"): "unknown_model",
        signed(KEY, "7", "yes", "no"): "unknown_model",
    }
    before, n_counted = rejected(service), counted(service)
    assert send(service, *((each, "yes") for each in bad)) == list(bad.values())
    after = rejected(service)
    assert (after["forged"] - before["forged"], after["unknown_model"] - before["unknown_model"]) == (13, 2)
    assert counted(service) == n_counted
    assert send(service, (genuine, "yes")) == ["accepted"]


def test_labels_outside_the_classes_are_refused(service: Running) -> None:
    """A label that is not a class of the model is answered `unknown_outcome`; the right one still counts afterwards."""
    bad = ["maybe", "Yes", "", 1, 0, 1.5, 1e300, True, None, 10**400]
    (genuine,) = predicted(service)
    before = rejected(service)["unknown_outcome"]
    words = send(service, *((genuine, actual) for actual in bad), (genuine, "no"))
    assert words == ["unknown_outcome"] * len(bad) + ["accepted"]
    assert rejected(service)["unknown_outcome"] == before + len(bad)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b'{"labels": [{"prediction_id": "x", "actual": NaN}]}', 400, "not JSON"),
        (b'\xff{"labels": []}', 400, "not JSON"),
        (b"[]", 422, "Expected `object`"),
        (b"{}", 422, "missing required field `labels`"),
        (b'{"labels": {}}', 422, "Expected `array`"),
        (b'{"labels": [1]}', 422, "labels[0]"),
        (b'{"labels": [{"prediction_id": 7, "actual": "yes"}]}', 422, "labels[0].prediction_id"),
        (b'{"labels": [{"prediction_id": "x"}]}', 422, "missing required field `actual`"),
        (b'{"labels": [{"prediction_id": "x", "actual": "yes", "why": 1}]}', 422, "unknown field `why`"),
        (b'{"labels": [{"prediction_id": "x", "actual": []}]}', 422, "labels[0].actual"),
        (b'{"labels": [{"prediction_id": "x", "actual": {"yes": 1}}]}', 422, "labels[0].actual"),
        (b'{"labels": [{"prediction_id": "x", "actual": ' + b"[" * 100_000, 422, "labels[0].actual"),
    ],
)
def test_bodies_that_are_no_labels_are_refused(service: Running, body: bytes, status: int, says: str) -> None:
    """A body of another shape is answered with a problem that names the place, and nothing of it is counted."""
    before = rejected(service), counted(service)
    response = service.client.post("/feedback", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert says in response.json()["detail"]
    assert (rejected(service), counted(service)) == before


def test_a_body_of_another_type_is_refused(service: Running) -> None:
    """A body of another content type than JSON is answered 415."""
    response = service.client.post("/feedback", content=b"prediction_id=x", headers={"content-type": "text/csv"})
    assert response.status_code == 415


def test_an_empty_list_is_answered(service: Running) -> None:
    """A body without labels is answered 200, with no verdicts."""
    assert send(service) == []


def test_100000_labels_in_one_body(service: Running) -> None:
    """More labels than the limit are refused as a whole with little work, and the answer names the limit."""
    (genuine,) = predicted(service)
    body = json.dumps({"labels": [{"prediction_id": genuine, "actual": "yes"}] * 100_000}).encode()
    start_s = time.process_time()
    response = service.client.post("/feedback", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "more than 10000 labels" in response.json()["detail"]
    assert time.process_time() - start_s < 2
    assert send(service, (genuine, "yes")) == ["accepted"]


@pytest.mark.slow
def test_10000_labels_in_one_body(service: Running) -> None:
    """As many labels as the limit allows are answered while predictions go on."""
    ids = predicted(service, 10_000)
    waits: list[float] = []
    is_done = threading.Event()

    def predict() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=30) as client:
            while not is_done.is_set():
                start_s = time.monotonic()
                client.post("/predict/model", json={"instances": [ROW]}).raise_for_status()
                waits.append(time.monotonic() - start_s)

    predicting = threading.Thread(target=predict)
    predicting.start()
    words = send(service, *((each, "yes") for each in ids))
    is_done.set()
    predicting.join()
    assert Counter(words) == {"accepted": 10_000}
    assert len(waits) > 3
    assert sorted(waits)[len(waits) // 2] < 0.25


def test_ids_of_an_older_key_are_known(service: Running) -> None:
    """A label for a prediction that an older key signed counts, while that key is in the setting."""
    older = PredictionIds(SigningKeys(["an older key of this test"]), MODEL).make(ONE)[0]
    assert send(service, (older, "no")) == ["accepted"]


def test_expired_labels_are_late(bundle: Path) -> None:
    """A label that comes after the horizon is answered `late`, and so is the same label sent again."""
    with running(bundle, feedback_keys=(KEY,), label_horizon_s=1, ledger=f"sqlite:///{bundle}.own.sqlite3") as service:
        (genuine,) = predicted(service)
        time.sleep(2.1)
        assert send(service, (genuine, "yes"), (genuine, "yes")) == ["late", "late"]
        assert rejected(service)["late"] == 2


def test_a_correction_moves_the_totals(bundle: Path) -> None:
    """Where the last label wins, a second one is answered `corrected`, and totals minus withdrawn totals are right."""
    ledger = f"sqlite:///{bundle}.last.sqlite3"
    with running(bundle, feedback_keys=(KEY,), last_label_wins=True, ledger=ledger) as service:
        (genuine,) = predicted(service)
        assert send(service, (genuine, "yes"), (genuine, "no"), (genuine, "no")) == [
            "accepted",
            "corrected",
            "duplicate",
        ]
        totals, withdrawn = service.samples("ml_feedback_total"), service.samples("ml_feedback_withdrawn_total")
        true = {dict(labels)["actual"]: n - withdrawn[labels] for labels, n in totals.items() if n}
        assert true == {"yes": 0, "no": 1}


def test_totals_survive_a_restart(bundle: Path) -> None:
    """A new process shows the totals of the ledger, and answers labels that were sent before as duplicates."""
    settings: dict[str, Any] = {"ledger": f"sqlite:///{bundle}.restarted.sqlite3"}
    with running(bundle, **settings) as service:
        (genuine,) = predicted(service)
        assert send(service, (genuine, "yes")) == ["accepted"]
    with running(bundle, **settings) as service:
        assert counted(service) == 1
        assert send(service, (genuine, "yes")) == ["duplicate"]


def test_every_series_exists_before_the_first_label(bundle: Path) -> None:
    """Every pair, reason and kind has a series at 0 once the service is ready."""
    with running(bundle, ledger=f"sqlite:///{bundle}.fresh.sqlite3") as service:
        assert service.client.get("/readyz").status_code == 200
        assert sorted(service.samples("ml_feedback_total").values()) == [0, 0, 0, 0]
        assert set(rejected(service)) == set(REASONS)
        assert set(service.samples("ml_feedback_loss_count").values()) == {0}


def test_a_ledger_that_is_down_leaves_predictions_alone(bundle: Path) -> None:
    """Without its ledger the service starts and predicts, feedback is answered 503 at once, and no total is shown."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://x@127.0.0.1:{unused.getsockname()[1]}/x"
        with running(bundle, feedback_keys=(KEY,), ledger=url) as service:
            assert service.client.get("/readyz").status_code == 200
            (genuine,) = predicted(service)
            response = service.client.post("/feedback", json={"labels": [{"prediction_id": genuine, "actual": "yes"}]})
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["trace_id"]
            assert service.samples("ml_feedback_total") == {}
            assert service.samples("sightline_faults_total")[frozenset({("place", "ledger")})] >= 1


def test_the_documented_answers_are_the_real_ones(service: Running) -> None:
    """OpenAPI lists every status that the route answers with, and every verdict."""
    schema = service.client.get("/openapi.json").json()
    operation = schema["paths"]["/feedback"]["post"]
    assert set(operation["responses"]) == {"200", "400", "413", "415", "422", "503"}
    words = schema["components"]["schemas"]["FeedbackOut"]["properties"]["labels"]["items"]["enum"]
    assert set(words) == {"accepted", "corrected", *REASONS}


def test_predictions_that_were_no_numbers_spoil_nothing(service: Running) -> None:
    """A label of a prediction whose probabilities are NaN is not counted; those beside it in the body are."""
    odd = MADE_UP.make(ArrayPrediction(OutputArrays(np.array([1, 1]), np.array([[np.nan, np.nan], [0.25, 0.75]])), ()))
    odd += MADE_UP.make(ArrayPrediction(OutputArrays(np.array([1]), np.array([[np.nan, np.nan]])), ()))
    words = send(service, *((prediction_id, "no") for prediction_id in odd))
    assert words == ["unknown_outcome", "accepted", "unknown_outcome"]
    assert all(np.isfinite(value) for value in service.samples("ml_feedback_loss_sum").values())
