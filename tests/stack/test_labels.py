"""Labels over replicas, retries and SIGKILLs: each counts once, and Prometheus says what scikit-learn says."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import httpx2 as httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
)

from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_service.diagnostics.clients import Prometheus, scrape
from tests.service.routes.test_predict import rows_of
from tests.stack.labelling import Clients, Prediction, predict
from tests.stack.polling import poll_until
from tests.stack.postgresql import PostgreSQL
from tests.stack.processes import Process, Stack, free_port, service_process

pytestmark = pytest.mark.stack

N_PREDICTIONS = 20_000
N_CONFLICTS = 200
KILLS = {"postgresql": 3, "sqlite": 2}
ARRIVES_S = 30.0
CLASSES = ("no", "yes")
DIAGONAL = 'label_replace(sum by (predicted) ({0}), "actual", "$1", "predicted", "(.*)")'
OUTCOME = '"outcome", "$1", "actual", "(.*)"'
KEYS = "the first key of this test, an older key of this test"


@dataclass(frozen=True)
class Labelled:
    """What was sent and who counted it. ledger: the ledger's own id."""

    predictions: list[Prediction]
    clients: Clients
    n_replicas: int
    n_kills: int
    prometheus: Prometheus
    ledger: str

    def total(self, metric: str, by: str = "") -> dict[tuple[str, ...], float]:
        """A metric of our ledger as the labels of `by` tell: the largest that any replica shows."""
        names = [name.strip() for name in by.split(",") if by]
        samples = self.prometheus.query(f'max by ({by}) ({metric}{{ledger="{self.ledger}"}})')
        return {tuple(sample.labels[name] for name in names): sample.value for sample in samples}


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def labelled(
    request: pytest.FixtureRequest,
    stack: Stack,
    small_bundle: Path,
    small_data: tuple[pd.DataFrame, "pd.Series[str]"],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Labelled]:
    """20,000 predictions at one replica, their labels at all, while replicas are killed and started again."""
    n_replicas = 2 if request.param == "postgresql" else 1
    with ExitStack() as running:
        if request.param == "postgresql":
            url = running.enter_context(PostgreSQL()).url
        else:
            url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.sqlite3'}"
        ports = [free_port() for _ in range(n_replicas)]
        environment = {"SIGHTLINE_LEDGER": url, "SIGHTLINE_FEEDBACK_KEYS": KEYS}
        names = [f"{request.param}-{number}" for number in range(n_replicas)]
        replicas = [
            running.enter_context(service_process(stack, small_bundle, port, name, environment))
            for port, name in zip(ports, names, strict=True)
        ]
        prometheus = running.enter_context(Prometheus(stack.prometheus_url))
        clients = running.enter_context(Clients([f"http://127.0.0.1:{port}" for port in ports], Random(11)))
        predictions = predict(clients, *drawn(*small_data))
        send_while_killing(clients, predictions, replicas, KILLS[request.param])
        conflicts = [other(each) for each in predictions[:N_CONFLICTS]]
        clients.send_labels(conflicts, set_event())
        seen = Labelled(predictions, clients, n_replicas, KILLS[request.param], prometheus, ledger_at(clients.urls[0]))
        poll_until(
            lambda: sum(seen.total("ml_feedback_total", "predicted, actual").values()) == N_PREDICTIONS, ARRIVES_S
        )
        time.sleep(3)  # two more exports: Prometheus shows the series of one export one after the other
        yield seen


def drawn(data: pd.DataFrame, labels: "pd.Series[str]") -> tuple[list[dict[str, Any]], list[str]]:
    """Rows drawn from the data, and what was true of them."""
    chosen = np.random.default_rng(5).integers(0, len(data), N_PREDICTIONS)
    return rows_of(data.iloc[chosen]), labels.iloc[chosen].tolist()


def send_while_killing(clients: Clients, predictions: list[Prediction], replicas: list[Process], n_kills: int) -> None:
    """Sends the labels; at even distances one replica after the other is killed with SIGKILL and started again."""
    killed = Event()
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(clients.send_labels, predictions, killed)
        try:
            for kill in range(n_kills):
                while clients.done < (kill + 1) / (n_kills + 1) and not sending.done():
                    time.sleep(0.002)
                replica = replicas[kill % len(replicas)]
                replica.kill()
                replica.start()
        finally:
            killed.set()
        sending.result()


def test_each_label_counts_once(labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    """Accepted labels are as many as distinct ones were sent; those sent again, and those that differ, are not."""
    total = labelled.total("ml_feedback_total", "predicted, actual")
    assert sum(total.values()) == N_PREDICTIONS
    rejected = labelled.total("ml_feedback_rejected_total", "reason")
    assert rejected["conflict",] >= N_CONFLICTS
    received = labelled.clients.answers
    assert received["accepted"] <= N_PREDICTIONS
    assert received["duplicate"] <= rejected["duplicate",]
    assert received["forged"] == received["unknown_model"] == received["late"] == 0
    with capsys.disabled():
        print(f"\n  {labelled.n_replicas} replicas, {labelled.n_kills} SIGKILLs; received {dict(received)}; {total}")


def test_the_confusion_matrix_equals_scikit_learns(labelled: Labelled) -> None:
    """The confusion matrix that Prometheus has is scikit-learn's, to the unit."""
    counted = labelled.total("ml_feedback_total", "actual, predicted")
    actual, predicted, _ = columns(labelled.predictions)
    theirs = confusion_matrix(actual, predicted, labels=CLASSES)
    assert [[counted[was, says] for says in CLASSES] for was in CLASSES] == theirs.tolist()


def test_scores_equal_scikit_learns(labelled: Labelled) -> None:
    """Accuracy, F1, log loss and Brier score from PromQL are scikit-learn's to 1e-9."""
    actual, predicted, probabilities = columns(labelled.predictions)
    matrix = f'max by (predicted, actual) (ml_feedback_total{{ledger="{labelled.ledger}"}})'
    hits = f"sum by (outcome) (label_replace({matrix} and on (predicted, actual) {DIAGONAL.format(matrix)}, {OUTCOME}))"
    predicted_or_actual = f"({by_outcome(matrix, 'predicted')} + {by_outcome(matrix, 'actual')})"
    ask = labelled.prometheus.value
    assert ask(f"sum({hits}) / sum({matrix})") == pytest.approx(accuracy_score(actual, predicted), abs=1e-9)
    assert ask(f"avg(2 * {hits} / {predicted_or_actual})") == pytest.approx(
        f1_score(actual, predicted, average="macro"), abs=1e-9
    )
    sums, n = (labelled.total(f"ml_feedback_loss_{what}", "kind") for what in ("sum", "count"))
    log = log_loss(actual, y_proba=probabilities, labels=CLASSES)
    assert sums["log",] / n["log",] == pytest.approx(log, abs=1e-9)
    brier = brier_score_loss(actual, probabilities[:, 1], pos_label="yes")
    assert sums["brier",] / n["brier",] == pytest.approx(brier, abs=1e-9)


def test_errors_equal_scikit_learns(
    stack: Stack, small_data: tuple[pd.DataFrame, "pd.Series[str]"], tmp_path: Path
) -> None:
    """MAE and bias of a regression from PromQL are scikit-learn's and numpy's to 1e-9."""
    data = small_data[0][["income"]]
    truth = data["income"] * 0.3 + np.random.default_rng(8).normal(0, 400, len(data))
    save_bundle(make_bundle(LinearRegression().fit(data, truth), data, truth, name="r", version="1"), tmp_path / "r")
    port = free_port()
    with (
        service_process(stack, tmp_path / "r", port, "regression"),
        Prometheus(stack.prometheus_url) as prometheus,
        Clients([f"http://127.0.0.1:{port}"], Random(2)) as clients,
    ):
        predictions = predict(clients, rows_of(data), truth.tolist())
        clients.send_labels(predictions, set_event())
        total = 'sum(max by (side) (ml_feedback_error_{0}{{model_name="r"{1}}}))'
        n = total.format("count", "")
        poll_until(lambda: prometheus.query(n) and prometheus.value(n) == len(truth), ARRIVES_S)
        time.sleep(3)
        mae = prometheus.value(f"{total.format('sum', '')} / {n}")
        over, under = (total.format("sum", f', side="{side}"') for side in ("over", "under"))
        bias = prometheus.value(f"({over} - {under}) / {n}")
    predicted = [each.outcome for each in predictions]
    assert mae == pytest.approx(mean_absolute_error(truth, predicted), abs=1e-9)
    assert bias == pytest.approx(np.mean(predicted - truth.to_numpy()), abs=1e-9)


def by_outcome(matrix: str, label: str) -> str:
    """The matrix added up over one of its sides."""
    return f'sum by (outcome) (label_replace({matrix}, "outcome", "$1", "{label}", "(.*)"))'


def columns(predictions: list[Prediction]) -> tuple[list[str], list[str], np.ndarray[Any, Any]]:
    """What was true, what the model predicted, and P(class), (n_rows, n_classes)."""
    return (
        [each.actual for each in predictions],
        [each.outcome for each in predictions],
        np.array([each.scores for each in predictions]),
    )


def other(prediction: Prediction) -> Prediction:
    """The same prediction with a wrong label."""
    return Prediction(prediction.prediction_id, prediction.outcome, (), CLASSES[prediction.actual == CLASSES[0]])


def set_event() -> Event:
    """An event that is already set."""
    event = Event()
    event.set()
    return event


def ledger_at(url: str) -> str:
    """The id of the ledger that a replica counts in."""
    with httpx.Client(base_url=url, timeout=10) as client:
        samples = (sample for family in scrape(client) for sample in family.samples)
        return next(sample.labels["ledger"] for sample in samples if sample.name == "ml_feedback_total")
