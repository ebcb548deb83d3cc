"""Compares predictions with labels, in totals of confusion, scores, losses and errors, and exports the totals.

A total never falls, so several replicas may export it, and the largest value is the latest. A label that is corrected
is therefore not subtracted; it is counted again as withdrawn.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sightline_telemetry import instruments
from sightline_telemetry.instruments import DELAY_BOUNDS_S, ERROR_BOUNDS, LOSS_BOUNDS, MODEL, OTHER, Instrument
from sightline_telemetry.model.histogram import Codes, Floats, Snapshot
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import SCORE_BOUNDS

REASONS = ("duplicate", "conflict", "late", "forged", "unknown_model", "unknown_outcome")
"""Why a label is not counted; `conflict` is a second label that differs from the first."""

FILLED_OUTCOMES = 32
"""With more outcomes, unseen pairs get no series, because nearly the whole matrix would be zeros."""

LABEL_COUNTERS = (instruments.FEEDBACK, instruments.FEEDBACK_WITHDRAWN, instruments.FEEDBACK_REJECTED)
LABEL_BOUNDS: dict[Instrument, tuple[float, ...]] = {
    instruments.FEEDBACK_SCORE: SCORE_BOUNDS,
    instruments.FEEDBACK_LOSS: LOSS_BOUNDS,
    instruments.FEEDBACK_ERROR: ERROR_BOUNDS,
    instruments.FEEDBACK_WITHDRAWN_SCORE: SCORE_BOUNDS,
    instruments.FEEDBACK_WITHDRAWN_LOSS: LOSS_BOUNDS,
    instruments.FEEDBACK_WITHDRAWN_ERROR: ERROR_BOUNDS,
    instruments.FEEDBACK_DELAY: DELAY_BOUNDS_S,
}
_EPSILON = float(np.finfo(np.float64).eps)

FeedbackAttributes = dict[str, str]
Pairs = Sequence[tuple[str, str]]


class TotalKey(NamedTuple):
    """Identifies a total: the instrument's name, the values of its own attributes, and the bucket of a histogram."""

    instrument: str
    first: str = ""
    second: str = ""
    bucket: int = 0


class Total(NamedTuple):
    """Holds the number of rows and the sum of their values; the sum of a counter is 0."""

    n: int
    sum: float = 0.0


Totals = dict[TotalKey, Total]


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """Describes a model whose predictions are compared with labels. outcomes: its classes; empty in regression."""

    id: ModelId
    outcomes: tuple[str, ...]
    has_probabilities: bool

    @property
    def scored(self) -> tuple[int, ...]:
        """Returns the indices of outcomes whose probability is measured: of two outcomes only the second (positive)."""
        if not self.has_probabilities:
            return ()
        return (1,) if len(self.outcomes) == 2 else tuple(range(len(self.outcomes)))

    def rest(self, outcome: int) -> str:
        """Returns the value of `actual` if an outcome other than this one was true."""
        return self.outcomes[1 - outcome] if len(self.outcomes) == 2 else OTHER


@dataclass(frozen=True, slots=True)
class Labelled:
    """Holds predictions of one model with the actual outcomes.

    predicted, actual: (n_rows,) indices into the outcomes, or values in regression.
    probabilities: (n_rows, n_outcomes), or None if the model has none.
    """

    predicted: Codes | Floats
    actual: Codes | Floats
    probabilities: Floats | None = None


def count_labelled(model: JudgedModel, rows: Labelled, *, is_withdrawn: bool = False) -> Totals:
    """Returns what these rows add to the totals of their model. is_withdrawn: counts them as withdrawn labels.

    The Brier loss is that of scikit-learn's `brier_score_loss`: halved with two classes. The log loss is clipped
    to [eps, 1 - eps] as in its `log_loss`.
    """
    totals: Totals = {}
    if not model.outcomes:
        error = np.asarray(rows.predicted - rows.actual, dtype=np.float64)
        totals |= _buckets(instruments.FEEDBACK_ERROR, ("over", ""), error[error >= 0])
        totals |= _buckets(instruments.FEEDBACK_ERROR, ("under", ""), -error[error < 0])
    else:
        predicted, actual = rows.predicted.astype(np.intp), rows.actual.astype(np.intp)
        pairs, counts = np.unique(predicted * len(model.outcomes) + actual, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            guess, truth = divmod(pair, len(model.outcomes))
            totals[TotalKey(instruments.FEEDBACK.name, model.outcomes[guess], model.outcomes[truth])] = Total(count)
        if rows.probabilities is not None:
            totals |= _probabilistic(model, actual, rows.probabilities)
    if is_withdrawn:
        return {
            key._replace(instrument=instruments.withdrawn_name(key.instrument)): total for key, total in totals.items()
        }
    return totals


def count_delays(delays_s: Floats) -> Totals:
    """Returns what labels add to the totals that arrived delays_s, (n_rows,) seconds, after their predictions."""
    return _buckets(instruments.FEEDBACK_DELAY, ("", ""), delays_s)


def add_totals(totals: Totals, more: Mapping[TotalKey, Total]) -> None:
    """Adds more totals to `totals`, in place."""
    for key, (n, value) in more.items():
        before = totals.get(key, Total(0))
        totals[key] = Total(before.n + n, before.sum + value)


@dataclass(frozen=True, slots=True)
class Quality:
    """Holds the totals of a ledger at one moment, for all its models."""

    ledger: str
    models: tuple[JudgedModel, ...]
    totals: Mapping[ModelId, Mapping[TotalKey, Total]]

    def counts(self, instrument: Instrument) -> Iterator[tuple[FeedbackAttributes, int]]:
        """Yields the series of a counter, including those at 0."""
        for attributes, found in self._series(instrument):
            yield attributes, sum(total.n for total in found.values())

    def snapshots(self, instrument: Instrument) -> Iterator[tuple[FeedbackAttributes, Snapshot]]:
        """Yields the series of a histogram, including those at 0."""
        bounds = LABEL_BOUNDS[instrument]
        for attributes, found in self._series(instrument):
            counts = [0] * (len(bounds) + 1)
            for bucket, total in found.items():
                counts[bucket] = total.n
            yield attributes, Snapshot(bounds, counts, sum(total.sum for total in found.values()))

    def _series(self, instrument: Instrument) -> Iterator[tuple[FeedbackAttributes, dict[int, Total]]]:
        names = [name for name in instrument.attributes if name not in (*MODEL, "ledger")]
        for model_id in dict.fromkeys(model.id for model in self.models):
            series: dict[tuple[str, str], dict[int, Total]] = {
                pair: {} for model in self.models if model.id == model_id for pair in _expected(model, instrument)
            }
            for key, total in self.totals.get(model_id, {}).items():
                if key.instrument == instrument.name:
                    series.setdefault((key.first, key.second), {})[key.bucket] = total
            for pair, found in series.items():
                own = dict(zip(names, pair, strict=False))
                yield {**model_id.attributes, "ledger": self.ledger, **own}, found


def latest(one: Quality | None, other: Quality) -> Quality:
    """Returns the latest totals of two views of the same ledgers: a total never falls, so the larger one is later.

    Each worker has a view of its own, which knows its own last labels and those of the others as last read.
    """
    if one is None or one.ledger != other.ledger:
        return other
    totals = {model: dict(found) for model, found in one.totals.items()}
    for model, found in other.totals.items():
        known = totals.setdefault(model, {})
        known.update({key: total for key, total in found.items() if key not in known or total.n >= known[key].n})
    return Quality(other.ledger, tuple(dict.fromkeys((*one.models, *other.models))), totals)


def quality_to_bytes(quality: Quality) -> bytes:
    """Writes the totals of a ledger as JSON."""
    models = [(m.id.name, m.id.version, m.outcomes, m.has_probabilities) for m in quality.models]
    totals = [(m.name, m.version, [(*key, *total) for key, total in of.items()]) for m, of in quality.totals.items()]
    return json.dumps((quality.ledger, models, totals), separators=(",", ":")).encode()


def quality_from_bytes(data: bytes) -> Quality:
    """Reads what `quality_to_bytes` wrote."""
    ledger, models, totals = json.loads(data)
    return Quality(
        ledger,
        tuple(JudgedModel(ModelId(name, version), tuple(outcomes), has) for name, version, outcomes, has in models),
        {
            ModelId(name, version): {TotalKey(*each[:4]): Total(*each[4:]) for each in found}
            for name, version, found in totals
        },
    )


def _expected(model: JudgedModel, instrument: Instrument) -> Pairs:
    """Returns the values of an instrument's own attributes whose series exist before the first label."""
    if instrument in (instruments.FEEDBACK, instruments.FEEDBACK_WITHDRAWN):
        if len(model.outcomes) > FILLED_OUTCOMES:
            return [(outcome, outcome) for outcome in model.outcomes]
        return [(guess, truth) for guess in model.outcomes for truth in model.outcomes]
    if instrument in (instruments.FEEDBACK_SCORE, instruments.FEEDBACK_WITHDRAWN_SCORE):
        return [(model.outcomes[k], truth) for k in model.scored for truth in (model.outcomes[k], model.rest(k))]
    if instrument in (instruments.FEEDBACK_LOSS, instruments.FEEDBACK_WITHDRAWN_LOSS):
        return [("brier", ""), ("log", "")] if model.has_probabilities else []
    if instrument in (instruments.FEEDBACK_ERROR, instruments.FEEDBACK_WITHDRAWN_ERROR):
        return [] if model.outcomes else [("over", ""), ("under", "")]
    return [(reason, "") for reason in REASONS] if instrument is instruments.FEEDBACK_REJECTED else [("", "")]


def _probabilistic(model: JudgedModel, actual: Codes, probabilities: Floats) -> Totals:
    is_true = actual[:, np.newaxis] == np.arange(len(model.outcomes))
    of_true = np.clip(probabilities[is_true], _EPSILON, 1 - _EPSILON)
    squares: Floats = ((is_true - probabilities) ** 2).sum(axis=1)
    totals = _buckets(instruments.FEEDBACK_LOSS, ("log", ""), -np.log(of_true))
    totals |= _buckets(instruments.FEEDBACK_LOSS, ("brier", ""), squares / 2 if len(model.outcomes) == 2 else squares)
    for k in model.scored:
        scores = probabilities[:, k]
        totals |= _buckets(instruments.FEEDBACK_SCORE, (model.outcomes[k], model.outcomes[k]), scores[is_true[:, k]])
        totals |= _buckets(instruments.FEEDBACK_SCORE, (model.outcomes[k], model.rest(k)), scores[~is_true[:, k]])
    return totals


def _buckets(instrument: Instrument, pair: tuple[str, str], values: Floats) -> Totals:
    bounds = LABEL_BOUNDS[instrument]
    bins = np.searchsorted(bounds, values, side="left")
    counts = np.bincount(bins, minlength=len(bounds) + 1)
    sums = np.bincount(bins, weights=values, minlength=len(bounds) + 1)
    return {
        TotalKey(instrument.name, *pair, bucket): Total(int(counts[bucket]), float(sums[bucket]))
        for bucket in np.flatnonzero(counts).tolist()
    }
