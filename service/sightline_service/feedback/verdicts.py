"""Judges a body of labels before any of it is written: one verdict per label, and what they add to the totals."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from sightline_service.feedback.prediction_ids import SignedPrediction, probabilities_of
from sightline_telemetry.instruments import FEEDBACK_REJECTED
from sightline_telemetry.model import quality
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Labelled, Total, TotalKey, Totals

Verdict = Literal["accepted", "corrected", "duplicate", "conflict", "late"]

TotalsByModel = defaultdict[ModelId, Totals]


class Label(NamedTuple):
    """Holds a genuine prediction id with its label: an index into the model's outcomes, or a value in regression."""

    prediction: SignedPrediction
    model: JudgedModel
    actual: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Holds what follows from a body of labels.

    verdicts: one per label. corrections: the labels that replace an earlier one, by key of the prediction.
    totals: what the labels add to the totals of their models.
    """

    verdicts: list[Verdict]
    corrections: dict[bytes, float]
    totals: TotalsByModel


def judge(
    labels: Sequence[Label], previous: Mapping[bytes, float], since_s: int, now_s: float, *, last_wins: bool
) -> Judgement:
    """Judges labels in their order.

    previous: the labels that the ledger had, by key of the prediction. since_s: labels of older predictions are late.
    now_s: Unix time, from which the delay of each label follows.
    A second label is a duplicate if it is the same, otherwise a conflict, or a correction if the last one wins.
    """
    verdicts: list[Verdict] = []
    counted: list[Label] = []
    withdrawn: list[Label] = []
    corrections: dict[bytes, float] = {}
    actual_by_key = dict(previous)
    for prediction, model, actual in labels:
        earlier = actual_by_key.get(prediction.key)
        if prediction.made_s < since_s:
            verdicts.append("late")
            continue
        if earlier is None:
            verdicts.append("accepted")
        elif earlier == actual:
            verdicts.append("duplicate")
            continue
        elif not last_wins:
            verdicts.append("conflict")
            continue
        else:
            verdicts.append("corrected")
            withdrawn.append(Label(prediction, model, earlier))
            corrections[prediction.key] = actual
        counted.append(Label(prediction, model, actual))
        actual_by_key[prediction.key] = actual
    totals: TotalsByModel = defaultdict(dict)
    _add_verdicts(totals, labels, verdicts, now_s)
    _add_counted(totals, counted, is_withdrawn=False)
    _add_counted(totals, withdrawn, is_withdrawn=True)
    return Judgement(verdicts, corrections, totals)


def rejected_totals(reasons: Mapping[str, int]) -> Totals:
    """Returns what labels that are not counted add to the totals. reasons: reason -> labels."""
    return {TotalKey(FEEDBACK_REJECTED.name, reason): Total(count) for reason, count in reasons.items()}


def _add_verdicts(totals: TotalsByModel, labels: Sequence[Label], verdicts: Sequence[Verdict], now_s: float) -> None:
    """Adds the delays of accepted labels, and the number of labels that are not counted."""
    delays_s: dict[ModelId, list[float]] = defaultdict(list)
    for label, verdict in zip(labels, verdicts, strict=True):
        if verdict == "accepted":
            delays_s[label.model.id].append(max(0.0, now_s - label.prediction.made_s))
        elif verdict != "corrected":
            quality.add_totals(totals[label.model.id], rejected_totals({verdict: 1}))
    for model_id, delays in delays_s.items():
        quality.add_totals(totals[model_id], quality.count_delays(np.array(delays)))


def _add_counted(totals: TotalsByModel, labels: Iterable[Label], *, is_withdrawn: bool) -> None:
    """Adds confusions, losses and errors, group by group of labels that numpy can count together.

    is_withdrawn: the labels were counted before, and are taken out of the totals.
    """
    groups: dict[tuple[JudgedModel, int], list[Label]] = defaultdict(list)
    for label in labels:
        # Grouped by the number of scores too: an id has both probabilities where they do not add up to 1.
        groups[label.model, len(label.prediction.scores)].append(label)
    for (model, _), group in groups.items():
        quality.add_totals(
            totals[model.id], quality.count_labelled(model, _labelled(model, group), is_withdrawn=is_withdrawn)
        )


def _labelled(model: JudgedModel, group: Sequence[Label]) -> Labelled:
    scores = np.array([label.prediction.scores for label in group], dtype=np.float64)
    actual = np.array([label.actual for label in group])
    if not model.outcomes:
        return Labelled(scores[:, 0], actual)
    predicted = np.array([label.prediction.outcome for label in group], dtype=np.intp)
    return Labelled(predicted, actual.astype(np.intp), probabilities_of(scores, len(model.outcomes)))
