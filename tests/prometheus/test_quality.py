"""Quality in PromQL equals scikit-learn's, through promtool: exact over replicas, restarts, ledgers, corrections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    precision_score,
    recall_score,
)

from prometheus.windows import Windows
from sightline_telemetry.instruments import FEEDBACK_DELAY
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import (
    LABEL_BOUNDS,
    LABEL_COUNTERS,
    JudgedModel,
    Labelled,
    Quality,
    Total,
    TotalKey,
    Totals,
    add_totals,
    count_labelled,
)
from tests.prometheus.promtool import SAMPLE_S, Question, Run, Series, check, constant, growing, metric

pytestmark = pytest.mark.stack

TIMING = Windows(240)
"""Four minutes for a window: its labels come between BEFORE_S and AT_S."""

BEFORE_S, ARRIVE_S, AT_S = 400, 500, 600
SAMPLES = 700 // SAMPLE_S
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Ledger:
    """Labels that a ledger had before the window, and those it got within it."""

    id: str
    before: Totals
    within: Totals


def rows(n_classes: int, n_rows: int, seed: int) -> Labelled:
    """Predictions that are right more often than not, and what was true."""
    random = np.random.default_rng(seed)
    actual = random.integers(0, n_classes, n_rows)
    weights = random.random((n_rows, n_classes))
    weights[np.arange(n_rows), actual] += 0.5
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return Labelled(probabilities.argmax(axis=1), actual, probabilities)


def totals_of(model: JudgedModel, labelled: Labelled, *, is_withdrawn: bool = False) -> Totals:
    """What rows add, their delays too."""
    totals = count_labelled(model, labelled, is_withdrawn=is_withdrawn)
    if not is_withdrawn:
        add_totals(totals, {TotalKey(FEEDBACK_DELAY.name): Total(len(labelled.actual))})
    return totals


def joined(*parts: Totals) -> Totals:
    """The sum of totals."""
    whole: Totals = {}
    for part in parts:
        add_totals(whole, part)
    return whole


def exported(model: JudgedModel, ledger: Ledger) -> list[Series]:
    """What two replicas of a ledger export; the first one dies in the window, a third takes its place."""
    series: list[Series] = []
    empty, early, late = (
        samples(Quality(ledger.id, (model,), {model.id: totals}))
        for totals in ({}, ledger.before, joined(ledger.before, ledger.within))
    )
    arrive, n = ARRIVE_S // SAMPLE_S, SAMPLES
    for name, labels in late:
        key = (name, labels)
        old, new = early.get(key, empty.get(key, 0.0)), late[key]
        dead = f"{constant(old, arrive + 1)}"
        steady = f"{constant(old, arrive)} {constant(new, n)}"
        lagging = f"{'_ ' * (arrive - 5)}{constant(old, 8)} {constant(new, n)}"
        for instance, values in (("dead", dead), ("steady", steady), ("lagging", lagging)):
            series.append((metric(name, **dict(labels), instance=instance), values))
    return series


def samples(quality: Quality) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Counters, sums and counts as Prometheus names them."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for counter in LABEL_COUNTERS:
        for attributes, count in quality.counts(counter):
            found[counter.prometheus_name, dotless(attributes)] = count
    for histogram in LABEL_BOUNDS:
        for attributes, snapshot in quality.snapshots(histogram):
            found[f"{histogram.prometheus_name}_sum", dotless(attributes)] = snapshot.sum
            found[f"{histogram.prometheus_name}_count", dotless(attributes)] = snapshot.count
    return found


def dotless(attributes: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Attributes as Prometheus names them."""
    return frozenset((name.replace(".", "_"), value) for name, value in attributes.items())


def is_(record: str, expected: float, **labels: str) -> Question:
    """True in PromQL if a recorded series is what scikit-learn computes, within TOLERANCE."""
    selector = metric(record, **labels)
    return Question(f"sum(abs({selector} - {expected!r}) < bool {TOLERANCE})", AT_S, [({}, 1)])


def of_model(model: JudgedModel, **labels: str) -> dict[str, str]:
    """The labels of a model's series in the short window."""
    return {"model_name": model.id.name, "model_version": model.id.version, "window": "4m", **labels}


def classification(model: JudgedModel, labelled: Labelled) -> list[Question]:
    """What scikit-learn says of classified rows."""
    actual, predicted, probabilities = labelled.actual, labelled.predicted, labelled.probabilities
    classes = list(range(len(model.outcomes)))
    here = of_model(model)
    questions = [
        is_("quality:accuracy", float(accuracy_score(actual, predicted)), **here),
        is_("quality:f1_macro", float(f1_score(actual, predicted, average="macro")), **here),
        is_("quality:log_loss", log_loss(actual, y_proba=probabilities, labels=classes), **here),
        is_("quality:brier_score", brier_score_loss(actual, probabilities, labels=classes), **here),
        is_("quality:labels", len(actual), **here),
    ]
    per_class: Sequence[tuple[str, Any]] = (
        ("precision", precision_score),
        ("recall", recall_score),
        ("f1", f1_score),
    )
    for name, score in per_class:
        for outcome, value in zip(model.outcomes, score(actual, predicted, labels=classes, average=None), strict=True):
            questions.append(is_(f"quality:{name}", float(value), **here, outcome=outcome))
    return questions


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_classification(n_classes: int, tmp_path: Path) -> None:
    """Two ledgers with two replicas each, one killed in the window: every score is scikit-learn's."""
    model = JudgedModel(ModelId("m", "1"), tuple(f"c{k}" for k in range(n_classes)), has_probabilities=True)
    parts = [rows(n_classes, n_rows, seed) for seed, n_rows in enumerate((300, 400, 250, 150))]
    ledgers = [
        Ledger("one", totals_of(model, parts[0]), totals_of(model, parts[1])),
        Ledger("two", totals_of(model, parts[2]), totals_of(model, parts[3])),
    ]
    within = both(parts[1], parts[3])
    series = [each for ledger in ledgers for each in exported(model, ledger)]
    check(tmp_path, TIMING, [Run(series, classification(model, within))])


def test_corrections(tmp_path: Path) -> None:
    """Labels that were corrected within the window count as the last one says, and not as the first."""
    model = JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True)
    before, within = rows(2, 200, 1), rows(2, 300, 2)
    wrong = replace(part(within, slice(0, 100)), actual=1 - within.actual[:100])
    right = part(within, slice(0, 100))
    counted = joined(totals_of(model, wrong), totals_of(model, part(within, slice(100, None))))
    corrections = joined(count_labelled(model, right), totals_of(model, wrong, is_withdrawn=True))
    ledger = Ledger("one", totals_of(model, before), joined(counted, corrections))
    check(tmp_path, TIMING, [Run(exported(model, ledger), classification(model, within))])


def test_regression(tmp_path: Path) -> None:
    """MAE and bias of a regression are scikit-learn's and numpy's."""
    model = JudgedModel(ModelId("r", "2"), (), has_probabilities=False)
    random = np.random.default_rng(9)
    actual = random.normal(1000, 300, 500)
    labelled = Labelled(actual + random.normal(20, 90, 500), actual)
    ledger = Ledger("one", totals_of(model, replace(labelled, actual=labelled.actual + 5)), totals_of(model, labelled))
    here = of_model(model)
    questions = [
        is_("quality:mae", mean_absolute_error(labelled.actual, labelled.predicted), **here),
        is_("quality:bias", float(np.mean(labelled.predicted - labelled.actual)), **here),
        is_("quality:labels", 500, **here),
        Question(metric("quality:accuracy", **here), AT_S),
    ]
    check(tmp_path, TIMING, [Run(exported(model, ledger), questions)])


def test_without_labels_nothing_is_said(tmp_path: Path) -> None:
    """Without a label in the window there is no score, rather than a number or NaN; of a class neither."""
    model = JudgedModel(ModelId("m", "1"), ("a", "b", "c"), has_probabilities=True)
    of_two = part(rows(2, 100, 3), slice(None))
    of_two = replace(of_two, probabilities=np.column_stack([of_two.probabilities, np.zeros(100)]))  # type: ignore[list-item]
    silent = Ledger("one", totals_of(model, rows(3, 100, 1)), {})
    partial = Ledger("two", {}, totals_of(replace(model, id=ModelId("p", "1")), of_two))
    names = ("accuracy", "precision", "recall", "f1", "f1_macro", "log_loss", "brier_score", "mae", "bias")
    questions = [Question(metric(f"quality:{name}", **of_model(model)), AT_S) for name in names]
    other = replace(model, id=ModelId("p", "1"))
    questions += [Question(metric(f"quality:{name}", **of_model(other, outcome="c")), AT_S) for name in names[1:4]]
    questions += [is_("quality:accuracy", float(accuracy_score(of_two.actual, of_two.predicted)), **of_model(other))]
    check(tmp_path, TIMING, [Run([*exported(model, silent), *exported(other, partial)], questions)])


def test_expected_accuracy_and_coverage(tmp_path: Path) -> None:
    """Expected accuracy is the mean confidence of all predictions; coverage the share of them that got labels."""
    model = JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True)
    labelled = rows(2, 120, 4)
    ledger = Ledger("one", {}, totals_of(model, labelled))
    labels = {"model_name": "m", "model_version": "1"}
    series = exported(model, ledger)
    for instance in ("a", "b"):
        here = {**labels, "instance": instance}
        series += [
            (metric("ml_predictions_total", **here, outcome="yes"), growing(5, SAMPLES)),
            (metric("ml_prediction_confidence_sum", **here), growing(4.0, SAMPLES)),
            (metric("ml_prediction_confidence_count", **here), growing(5, SAMPLES)),
        ]
    here = of_model(model)
    realised = float(accuracy_score(labelled.actual, labelled.predicted))
    questions = [
        is_("quality:expected_accuracy", 0.8, **here),
        is_("quality:accuracy_gap", realised - 0.8, **here),
        is_("quality:label_coverage", 120 / 240, **here),
    ]
    check(tmp_path, TIMING, [Run(series, questions)])


def part(labelled: Labelled, which: slice) -> Labelled:
    """Some of the rows."""
    probabilities = None if labelled.probabilities is None else labelled.probabilities[which]
    return Labelled(labelled.predicted[which], labelled.actual[which], probabilities)


def both(one: Labelled, other: Labelled) -> Labelled:
    """The rows of two."""
    probabilities = [each.probabilities for each in (one, other) if each.probabilities is not None]
    return Labelled(
        np.concatenate([one.predicted, other.predicted]),
        np.concatenate([one.actual, other.actual]),
        np.concatenate(probabilities),
    )
