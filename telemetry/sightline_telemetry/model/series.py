"""Defines the series of each instrument of a model: the attributes beside the model's own, and the counts.

Imports no OpenTelemetry. Every series exists from the start, at 0; traffic creates no new series.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from sightline_telemetry import instruments
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.counts import Snapshot
from sightline_telemetry.model.profile import SCORE_BOUNDS, ReferenceProfile, ValueDistribution
from sightline_telemetry.model.recorder import Recorder

T = TypeVar("T")
MetricAttributes = Mapping[str, str | int]
Numbers = Iterable[tuple[MetricAttributes, float]]
Points = Iterable[tuple[MetricAttributes, Snapshot]]


def by(attribute: str, values: Mapping[Any, T]) -> Iterator[tuple[MetricAttributes, T]]:
    """Yields one series per value, distinguished by one attribute."""
    for name, value in values.items():
        yield {attribute: str(name)}, value


def _predictions(recorder: Recorder) -> Numbers:
    """Counts each row once in every task, so that the sum is the number of rows answered."""
    if recorder.profile.task == "regression":
        return [({}, recorder.rows())]
    return by("outcome", recorder.predictions())


def _scores(recorder: Recorder) -> Points:
    yield from by("outcome", recorder.scores())
    yield from _unlabelled(recorder.predicted_values())


def _categories(recorder: Recorder) -> Numbers:
    for feature, counts in recorder.categories().items():
        for category, count in counts.items():
            yield {"feature": feature, "category": category}, count


def _imputed(recorder: Recorder) -> Numbers:
    for (feature, method), count in recorder.imputed().items():
        yield {"feature": feature, "method": method}, count


def _out_of_range(recorder: Recorder) -> Numbers:
    for feature, (low, high) in recorder.out_of_range().items():
        yield {"feature": feature, "side": "low"}, low
        yield {"feature": feature, "side": "high"}, high


def _reference_values(recorder: Recorder) -> Points:
    for feature in recorder.profile.numeric:
        yield {"feature": feature.name}, Snapshot(feature.bounds, list(feature.counts), feature.sum)


def _reference_categories(recorder: Recorder) -> Numbers:
    for feature in recorder.profile.categorical:
        for category, count in zip(feature.labels, feature.label_counts, strict=True):
            yield {"feature": feature.name, "category": category}, count


def _reference_floors(recorder: Recorder) -> Numbers:
    floors = recorder.profile.floors
    if floors is None:
        return
    for feature, statistics in floors.features.items():
        for statistic, value in statistics.items():
            yield {"feature": feature, "statistic": statistic, "window": f"{floors.window_s}s"}, value


def _reference_outcomes(profile: ReferenceProfile, counts: tuple[int, ...]) -> Numbers:
    if profile.task == "regression":
        return [({}, profile.n_rows)]
    return by("outcome", dict(zip(profile.outcomes, counts, strict=True)))


def _reference_scores(recorder: Recorder) -> Points:
    for score in recorder.profile.scores:
        yield {"outcome": score.outcome}, Snapshot(SCORE_BOUNDS, list(score.counts), score.sum)
    yield from _distribution(recorder.profile.predicted_values)


def _distribution(values: ValueDistribution | None) -> Points:
    return _unlabelled(None if values is None else Snapshot(values.bounds, list(values.counts), values.sum))


def _unlabelled(snapshot: Snapshot | None) -> Points:
    return [] if snapshot is None else [({}, snapshot)]


NUMBERS: tuple[tuple[Instrument, Callable[[Recorder], Numbers]], ...] = (
    (instruments.PREDICTIONS, _predictions),
    (instruments.PREDICTION_ERRORS, lambda recorder: by("reason", recorder.errors())),
    (instruments.FEATURE_CATEGORIES, _categories),
    (instruments.FEATURE_IMPUTED, _imputed),
    (instruments.FEATURE_MISSING, lambda recorder: by("feature", recorder.missing())),
    (instruments.FEATURE_OUT_OF_RANGE, _out_of_range),
    (instruments.REFERENCE_FEATURE_CATEGORIES, _reference_categories),
    (
        instruments.REFERENCE_FEATURE_MISSING,
        lambda recorder: by("feature", {feature.name: feature.missing for feature in recorder.profile.features}),
    ),
    (
        instruments.REFERENCE_FEATURE_SINGLETONS,
        lambda recorder: by("feature", {feature.name: feature.singletons for feature in recorder.profile.categorical}),
    ),
    (instruments.REFERENCE_DRIFT_FLOOR, _reference_floors),
    (
        instruments.REFERENCE_PREDICTIONS,
        lambda recorder: _reference_outcomes(recorder.profile, recorder.profile.predicted),
    ),
    (instruments.REFERENCE_LABELS, lambda recorder: _reference_outcomes(recorder.profile, recorder.profile.labels)),
)
"""Each counter and gauge of a model, with the function that reads it."""

HISTOGRAMS: tuple[tuple[Instrument, Callable[[Recorder], Points]], ...] = (
    (instruments.QUEUE_DURATION, lambda recorder: [({}, recorder.queue_durations())]),
    (instruments.BATCH_SIZE, lambda recorder: [({}, recorder.batch_sizes())]),
    (instruments.PREDICTION_DURATION, lambda recorder: by("step", recorder.step_durations())),
    (instruments.PREDICTION_SCORE, _scores),
    (instruments.PREDICTION_CONFIDENCE, lambda recorder: _unlabelled(recorder.confidence())),
    (instruments.FEATURE_VALUE, lambda recorder: by("feature", recorder.values())),
    (instruments.REFERENCE_FEATURE_VALUE, _reference_values),
    (instruments.REFERENCE_PREDICTION_SCORE, _reference_scores),
    (instruments.REFERENCE_LABEL_VALUE, lambda recorder: _distribution(recorder.profile.label_values)),
)
"""Each histogram of a model, with the function that reads it."""
