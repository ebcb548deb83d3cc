"""What a batch of labels means before any of it is written: a verdict for each, and what it adds to the totals."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from sightline_service.feedback.prediction_ids import SignedPrediction, probabilities_of
from sightline_telemetry.instruments import FEEDBACK_REJECTED
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import (
    JudgedModel,
    Labelled,
    Total,
    TotalKey,
    Totals,
    add_totals,
    count_delays,
    count_labelled,
)

Verdict = Literal["accepted", "corrected", "duplicate", "conflict", "late"]

TotalsByModel = dict[ModelId, Totals]


class Label(NamedTuple):
    """A genuine id with what was true: an index into the model's outcomes, or a value in regression."""

    prediction: SignedPrediction
    model: JudgedModel
    actual: float


class CountedLabel(NamedTuple):
    """A prediction counted with what is held to be true of it, or taken back."""

    prediction: SignedPrediction
    model: JudgedModel
    actual: float
    is_withdrawn: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict a label, the postings that follow, and what is held to be true after them, by prediction."""

    verdicts: list[Verdict]
    postings: list[CountedLabel]
    stands: dict[bytes, float]


def judge(labels: Sequence[Label], before: Mapping[bytes, float], since_s: int, *, last_wins: bool) -> Judgement:
    """Judges labels in their order.

    before: what the ledger held to be true, by key of the prediction. since_s: labels of older predictions are late.
    A second label is a duplicate if it says the same, otherwise a conflict, or a correction if the last one wins.
    """
    verdicts: list[Verdict] = []
    postings: list[CountedLabel] = []
    stands = dict(before)
    for prediction, model, actual in labels:
        held = stands.get(prediction.key)
        if prediction.made_s < since_s:
            verdicts.append("late")
            continue
        if held is None:
            verdicts.append("accepted")
        elif held == actual:
            verdicts.append("duplicate")
            continue
        elif not last_wins:
            verdicts.append("conflict")
            continue
        else:
            verdicts.append("corrected")
            postings.append(CountedLabel(prediction, model, held, is_withdrawn=True))
        postings.append(CountedLabel(prediction, model, actual, is_withdrawn=False))
        stands[prediction.key] = actual
    return Judgement(verdicts, postings, stands)


def added_totals(labels: Sequence[Label], judged: Judgement, now_s: float) -> TotalsByModel:
    """What these labels add to the totals of their models. now_s: Unix time, for how late the labels are."""
    added: TotalsByModel = defaultdict(dict)
    delays_s: dict[ModelId, list[float]] = defaultdict(list)
    for label, verdict in zip(labels, judged.verdicts, strict=True):
        if verdict == "accepted":
            delays_s[label.model.id].append(max(0.0, now_s - label.prediction.made_s))
        elif verdict != "corrected":
            add_totals(added[label.model.id], rejected_totals({verdict: 1}))
    for model_id, delays in delays_s.items():
        add_totals(added[model_id], count_delays(np.array(delays)))
    alike: dict[tuple[JudgedModel, bool, int], list[CountedLabel]] = defaultdict(list)
    for posting in judged.postings:
        # Grouped by the number of scores too: an id says both probabilities where they do not add up to 1.
        alike[posting.model, posting.is_withdrawn, len(posting.prediction.scores)].append(posting)
    for (model, is_withdrawn, _), postings in alike.items():
        totals = count_labelled(model, _labelled(model, postings), is_withdrawn=is_withdrawn)
        add_totals(added[model.id], totals)
    return added


def rejected_totals(reasons: Mapping[str, int]) -> Totals:
    """What labels that are not counted, by reason, add to the totals."""
    return {TotalKey(FEEDBACK_REJECTED.name, reason): Total(count) for reason, count in reasons.items()}


def _labelled(model: JudgedModel, postings: Iterable[CountedLabel]) -> Labelled:
    scores = np.array([posting.prediction.scores for posting in postings], dtype=np.float64)
    actual = np.array([posting.actual for posting in postings])
    if not model.outcomes:
        return Labelled(scores[:, 0], actual)
    predicted = np.array([posting.prediction.outcome for posting in postings], dtype=np.intp)
    return Labelled(predicted, actual.astype(np.intp), probabilities_of(scores, len(model.outcomes)))
