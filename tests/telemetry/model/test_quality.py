"""Totals of labels, with scikit-learn as the oracle."""

import numpy as np
import pytest
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    log_loss,
    mean_absolute_error,
)

from sightline_telemetry.instruments import (
    FEEDBACK,
    FEEDBACK_ERROR,
    FEEDBACK_LOSS,
    FEEDBACK_REJECTED,
    FEEDBACK_SCORE,
    FEEDBACK_WITHDRAWN,
    FEEDBACK_WITHDRAWN_LOSS,
    OTHER,
)
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import (
    FILLED_OUTCOMES,
    LABEL_BOUNDS,
    LABEL_COUNTERS,
    REASONS,
    JudgedModel,
    Labelled,
    Quality,
    Total,
    TotalKey,
    Totals,
    add_totals,
    count_delays,
    count_labelled,
    latest,
    quality_from_bytes,
    quality_to_bytes,
)

ID = ModelId("m", "1")
REGRESSION = JudgedModel(ID, (), has_probabilities=False)


def classifier(n_classes: int) -> JudgedModel:
    """A model of so many classes."""
    return JudgedModel(ID, tuple(f"c{k}" for k in range(n_classes)), has_probabilities=True)


def rows(n_classes: int, n_rows: int = 500, seed: int = 3) -> Labelled:
    """Random predictions and truths; some probabilities are 0 and 1."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(n_classes, 0.3), n_rows)
    probabilities[:5] = np.eye(n_classes)[np.zeros(5, int)]
    return Labelled(probabilities.argmax(axis=1), random.integers(0, n_classes, n_rows), probabilities)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_classification_equals_scikit_learn(n_classes: int) -> None:
    """Confusion matrix, log loss and Brier score are scikit-learn's, confident mistakes among them."""
    model, labelled = classifier(n_classes), rows(n_classes)
    quality = Quality("l", (model,), {ID: count_labelled(model, labelled)})
    confusion = {(a["actual"], a["predicted"]): count for a, count in quality.counts(FEEDBACK)}
    classes = list(range(n_classes))
    theirs = confusion_matrix(labelled.actual, labelled.predicted, labels=classes)
    assert [[confusion[f"c{was}", f"c{says}"] for says in classes] for was in classes] == theirs.tolist()
    losses = {a["kind"]: snapshot for a, snapshot in quality.snapshots(FEEDBACK_LOSS)}
    assert labelled.probabilities is not None
    log = log_loss(labelled.actual, labelled.probabilities, labels=classes)
    each = [brier_score_loss(labelled.actual == one, labelled.probabilities[:, one]) for one in classes]
    brier = sum(each) / (2 if n_classes == 2 else 1)  # of two classes the score counts one
    assert losses["log"].sum / losses["log"].count == pytest.approx(log, abs=1e-12)
    assert losses["brier"].sum / losses["brier"].count == pytest.approx(brier, abs=1e-12)


def test_regression_equals_scikit_learn() -> None:
    """MAE is the sum of both sides, bias their difference; an error of zero is counted on one side."""
    random = np.random.default_rng(4)
    actual = random.normal(100, 30, 400)
    predicted = actual + random.normal(2, 10, 400)
    predicted[:7] = actual[:7]
    totals = count_labelled(REGRESSION, Labelled(predicted, actual))
    sides = {a["side"]: s for a, s in Quality("l", (REGRESSION,), {ID: totals}).snapshots(FEEDBACK_ERROR)}
    assert sides["over"].count + sides["under"].count == 400
    mae = (sides["over"].sum + sides["under"].sum) / 400
    bias = (sides["over"].sum - sides["under"].sum) / 400
    assert mae == pytest.approx(mean_absolute_error(actual, predicted), abs=1e-12)
    assert bias == pytest.approx(np.mean(predicted - actual), abs=1e-12)


def test_scores_tell_calibration() -> None:
    """With two classes P(positive) is counted by what was true; with more, each class's against the rest."""
    two, three = classifier(2), classifier(3)
    labelled = Labelled(np.array([1, 0]), np.array([1, 1]), np.array([[0.2, 0.8], [0.7, 0.3]]))
    scores = Quality("l", (two,), {ID: count_labelled(two, labelled)}).snapshots(FEEDBACK_SCORE)
    assert [(a["outcome"], a["actual"], s.count, s.sum) for a, s in scores] == [
        ("c1", "c1", 2, 1.1),
        ("c1", "c0", 0, 0.0),
    ]
    labelled = Labelled(np.array([2]), np.array([0]), np.array([[0.25, 0.25, 0.5]]))
    found = Quality("l", (three,), {ID: count_labelled(three, labelled)}).snapshots(FEEDBACK_SCORE)
    assert {(a["outcome"], a["actual"]): s.sum for a, s in found} == {
        ("c0", "c0"): 0.25,
        ("c0", OTHER): 0.0,
        ("c1", "c1"): 0.0,
        ("c1", OTHER): 0.25,
        ("c2", "c2"): 0.0,
        ("c2", OTHER): 0.5,
    }


def test_what_is_withdrawn_cancels_what_was_counted() -> None:
    """A label that is withdrawn adds to instruments of its own just what it had added."""
    model, labelled = classifier(2), rows(2)
    counted, withdrawn = (count_labelled(model, labelled, is_withdrawn=each) for each in (False, True))
    assert {key.instrument for key in withdrawn} & {key.instrument for key in counted} == set()
    assert list(withdrawn.values()) == list(counted.values())
    quality = Quality("l", (model,), {ID: counted | withdrawn})
    assert list(quality.counts(FEEDBACK)) == list(quality.counts(FEEDBACK_WITHDRAWN))
    assert list(quality.snapshots(FEEDBACK_LOSS)) == list(quality.snapshots(FEEDBACK_WITHDRAWN_LOSS))


def test_totals_add_up() -> None:
    """Totals of two halves are the totals of the whole."""
    model, labelled = classifier(3), rows(3)
    assert labelled.probabilities is not None
    whole = count_labelled(model, labelled)
    halves: Totals = {}
    for part in (slice(0, 200), slice(200, None)):
        half = Labelled(labelled.predicted[part], labelled.actual[part], labelled.probabilities[part])
        add_totals(halves, count_labelled(model, half))
    assert {key: total.n for key, total in halves.items()} == {key: total.n for key, total in whole.items()}
    for key, total in halves.items():
        assert total.sum == pytest.approx(whole[key].sum, rel=1e-12)


def test_every_series_exists_at_zero() -> None:
    """Before the first label every pair, reason, kind and side has its series, and only where the model has them."""
    model = classifier(2)
    empty = Quality("abc", (model, model), {})
    assert [(a["predicted"], a["actual"], n) for a, n in empty.counts(FEEDBACK)] == [
        ("c0", "c0", 0),
        ("c0", "c1", 0),
        ("c1", "c0", 0),
        ("c1", "c1", 0),
    ]
    assert tuple(a["reason"] for a, _ in empty.counts(FEEDBACK_REJECTED)) == REASONS
    series = {each.name: len(list(empty.snapshots(each))) for each in LABEL_BOUNDS}
    assert (series["ml.feedback.loss"], series["ml.feedback.error"], series["ml.feedback.delay"]) == (2, 0, 1)
    regression = Quality("abc", (REGRESSION,), {})
    assert sum(len(list(regression.counts(each))) for each in LABEL_COUNTERS) == len(REASONS)
    assert [a["side"] for a, _ in regression.snapshots(FEEDBACK_ERROR)] == ["over", "under"]
    assert {a["ledger"] for a, _ in regression.snapshots(FEEDBACK_ERROR)} == {"abc"}


def test_attributes_are_those_of_the_list() -> None:
    """Each series of each instrument has the attributes that instruments.py lists, no more and no fewer."""
    for model in (classifier(3), REGRESSION):
        quality = Quality("l", (model,), {})
        shown = [(each, a) for each in LABEL_COUNTERS for a, _ in quality.counts(each)]
        shown += [(each, a) for each in LABEL_BOUNDS for a, _ in quality.snapshots(each)]
        for instrument, attributes in shown:
            assert tuple(attributes) == instrument.attributes


def test_many_classes_have_no_series_of_zeros() -> None:
    """With many classes only the diagonal and pairs that were seen have series."""
    model = classifier(FILLED_OUTCOMES + 8)
    seen = {TotalKey(FEEDBACK.name, "c1", "c2"): Total(3)}
    counts = {(a["predicted"], a["actual"]): n for a, n in Quality("l", (model,), {ID: seen}).counts(FEEDBACK)}
    assert len(counts) == FILLED_OUTCOMES + 9
    assert counts["c1", "c2"] == 3


def test_delays_fall_into_their_buckets() -> None:
    """Delays are counted in buckets (a, b], and their sum is exact."""
    totals = count_delays(np.array([0.5, 1.0, 61.0, 1e9]))
    assert {key.bucket: tuple(total) for key, total in totals.items()} == {0: (2, 1.5), 3: (1, 61.0), 16: (1, 1e9)}


def test_totals_of_several_workers_never_fall() -> None:
    """Of two views of one ledger each total is the larger one, in whichever order the views arrive."""
    one, two = TotalKey("ml.feedback", "no", "no"), TotalKey("ml.feedback", "yes", "no")
    first = Quality("l", (REGRESSION,), {ID: {one: Total(10), two: Total(11)}})
    second = Quality("l", (REGRESSION,), {ID: {one: Total(11), two: Total(10)}})
    expected = {ID: {one: Total(11), two: Total(11)}}
    assert latest(latest(None, first), second).totals == expected
    assert latest(latest(None, second), first).totals == expected
    assert quality_from_bytes(quality_to_bytes(first)) == first
