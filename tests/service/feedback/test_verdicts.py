"""Judging is a pure function: labels and what the ledger had, in; verdicts, corrections and totals, out."""

from dataclasses import replace

import pytest

from sightline_service.feedback.prediction_ids import SignedPrediction
from sightline_service.feedback.verdicts import Label, judge, rejected_totals
from sightline_telemetry.instruments import (
    FEEDBACK,
    FEEDBACK_DELAY,
    FEEDBACK_REJECTED,
    FEEDBACK_WITHDRAWN,
    Instrument,
)
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Total, TotalKey, Totals

MODEL = JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True)
OTHER_MODEL = replace(MODEL, id=ModelId("m", "2"))
MADE_S, NOW_S = 1_000_000, 1_000_060.0
NO, YES = 0.0, 1.0


def label(number: int, actual: float, *, model: JudgedModel = MODEL, made_s: int = MADE_S) -> Label:
    """Returns a label of the prediction with this number: `yes` with P(yes) = 0.75."""
    return Label(SignedPrediction(bytes([number] * 15), b"four", made_s, 1, (0.75,)), model, actual)


def counts(totals: Totals, instrument: Instrument) -> dict[tuple[str, str], int]:
    """Returns (first, second attribute) -> labels of one instrument."""
    found: dict[tuple[str, str], int] = {}
    for key, total in totals.items():
        if key.instrument == instrument.name:
            found[key.first, key.second] = found.get((key.first, key.second), 0) + total.n
    return found


def test_nothing_follows_from_no_labels() -> None:
    """An empty body has no verdicts, corrects nothing and adds nothing."""
    judgement = judge([], {}, 0, NOW_S, last_wins=True)
    assert (judgement.verdicts, judgement.corrections, judgement.totals) == ([], {}, {})


def test_the_first_label_is_accepted_and_its_delay_counted() -> None:
    """A first label is counted by what was predicted and what was true, with its delay in seconds."""
    judgement = judge([label(1, YES), label(2, NO)], {}, 0, NOW_S, last_wins=False)
    totals = judgement.totals[MODEL.id]
    assert judgement.verdicts == ["accepted", "accepted"]
    assert judgement.corrections == {}
    assert counts(totals, FEEDBACK) == {("yes", "yes"): 1, ("yes", "no"): 1}
    assert sum(total.sum for key, total in totals.items() if key.instrument == FEEDBACK_DELAY.name) == 120.0


@pytest.mark.parametrize(("actual", "verdict"), [(YES, "duplicate"), (NO, "conflict")])
@pytest.mark.parametrize("is_in_ledger", [True, False])
def test_a_second_label_is_a_duplicate_or_a_conflict(actual: float, verdict: str, *, is_in_ledger: bool) -> None:
    """If the first label wins a second one is only counted by its verdict, in the same body and later alike."""
    first, second = label(1, YES), label(1, actual)
    previous = {first.prediction.key: YES} if is_in_ledger else {}
    body = [second] if is_in_ledger else [first, second]
    judgement = judge(body, previous, 0, NOW_S, last_wins=False)
    assert judgement.verdicts[-1] == verdict
    assert judgement.corrections == {}
    assert counts(judgement.totals[MODEL.id], FEEDBACK_REJECTED) == {(verdict, ""): 1}


def test_the_last_label_corrects() -> None:
    """If the last label wins, each different one withdraws the one before it, and the last is to be written."""
    body = [label(1, NO), label(1, YES), label(1, NO)]
    previous = {body[0].prediction.key: YES}
    judgement = judge(body, previous, 0, NOW_S, last_wins=True)
    totals = judgement.totals[MODEL.id]
    assert judgement.verdicts == ["corrected"] * 3
    assert judgement.corrections == {body[0].prediction.key: NO}
    assert counts(totals, FEEDBACK) == {("yes", "no"): 2, ("yes", "yes"): 1}
    assert counts(totals, FEEDBACK_WITHDRAWN) == {("yes", "yes"): 2, ("yes", "no"): 1}
    assert counts(totals, FEEDBACK_DELAY) == {}
    assert previous == {body[0].prediction.key: YES}


def test_labels_of_old_predictions_are_late() -> None:
    """A label is late from one second before the limit on, whatever the ledger had."""
    old, at_limit = label(1, YES, made_s=MADE_S - 1), label(2, YES)
    judgement = judge([old, at_limit], {old.prediction.key: NO}, MADE_S, NOW_S, last_wins=True)
    assert judgement.verdicts == ["late", "accepted"]
    assert counts(judgement.totals[MODEL.id], FEEDBACK_REJECTED) == {("late", ""): 1}


def test_each_model_has_its_own_totals() -> None:
    """Labels of several versions in one body add to the totals of their own version."""
    judgement = judge([label(1, YES), label(2, NO, model=OTHER_MODEL)], {}, 0, NOW_S, last_wins=False)
    assert counts(judgement.totals[MODEL.id], FEEDBACK) == {("yes", "yes"): 1}
    assert counts(judgement.totals[OTHER_MODEL.id], FEEDBACK) == {("yes", "no"): 1}


def test_refused_labels_are_counted_by_reason() -> None:
    """Labels that cannot be judged add to the total of their reason."""
    assert rejected_totals({"forged": 2, "unknown_model": 1}) == {
        TotalKey(FEEDBACK_REJECTED.name, "forged"): Total(2),
        TotalKey(FEEDBACK_REJECTED.name, "unknown_model"): Total(1),
    }
