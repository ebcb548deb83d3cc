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


def _queue_duration(recorder: Recorder) -> Points:
    yield {}, recorder.queue_durations()


def _batch_size(recorder: Recorder) -> Points:
    yield {}, recorder.batch_sizes()


def _steps(recorder: Recorder) -> Points:
    return by("step", recorder.step_durations())


def _errors(recorder: Recorder) -> Numbers:
    return by("reason", recorder.errors())


def _predictions(recorder: Recorder) -> Numbers:
    """Counts each row once in every task, so that the sum is the number of rows answered."""
    if recorder.profile.task == "regression":
        return [({}, recorder.rows())]
    return by("outcome", recorder.predictions())


def _scores(recorder: Recorder) -> Points:
    yield from by("outcome", recorder.scores())
    yield from _unlabelled(recorder.predicted_values())


def _confidence(recorder: Recorder) -> Points:
    return _unlabelled(recorder.confidence())


def _values(recorder: Recorder) -> Points:
    return by("feature", recorder.values())


def _categories(recorder: Recorder) -> Numbers:
    for feature, counts in recorder.categories().items():
        for category, count in counts.items():
            yield {"feature": feature, "category": category}, count


def _imputed(recorder: Recorder) -> Numbers:
    for (feature, method), count in recorder.imputed().items():
        yield {"feature": feature, "method": method}, count


def _missing(recorder: Recorder) -> Numbers:
    return by("feature", recorder.missing())


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


def _reference_missing(recorder: Recorder) -> Numbers:
    return by("feature", {feature.name: feature.missing for feature in recorder.profile.features})


def _reference_singletons(recorder: Recorder) -> Numbers:
    return by("feature", {feature.name: feature.singletons for feature in recorder.profile.categorical})


def _reference_floors(recorder: Recorder) -> Numbers:
    floors = recorder.profile.floors
    if floors is None:
        return
    for feature, statistics in floors.features.items():
        for statistic, value in statistics.items():
            yield {"feature": feature, "statistic": statistic, "window": f"{floors.window_s}s"}, value


def _reference_predictions(recorder: Recorder) -> Numbers:
    return _reference_outcomes(recorder.profile, recorder.profile.predicted)


def _reference_labels(recorder: Recorder) -> Numbers:
    return _reference_outcomes(recorder.profile, recorder.profile.labels)


def _reference_outcomes(profile: ReferenceProfile, counts: tuple[int, ...]) -> Numbers:
    if profile.task == "regression":
        return [({}, profile.n_rows)]
    return by("outcome", dict(zip(profile.outcomes, counts, strict=True)))


def _reference_scores(recorder: Recorder) -> Points:
    for score in recorder.profile.scores:
        yield {"outcome": score.outcome}, Snapshot(SCORE_BOUNDS, list(score.counts), score.sum)
    yield from _distribution(recorder.profile.predicted_values)


def _reference_label_values(recorder: Recorder) -> Points:
    return _distribution(recorder.profile.label_values)


def _distribution(values: ValueDistribution | None) -> Points:
    return _unlabelled(None if values is None else Snapshot(values.bounds, list(values.counts), values.sum))


def _unlabelled(snapshot: Snapshot | None) -> Points:
    return [] if snapshot is None else [({}, snapshot)]


NUMBERS: tuple[tuple[Instrument, Callable[[Recorder], Numbers]], ...] = (
    (instruments.PREDICTIONS, _predictions),
    (instruments.PREDICTION_ERRORS, _errors),
    (instruments.FEATURE_CATEGORIES, _categories),
    (instruments.FEATURE_IMPUTED, _imputed),
    (instruments.FEATURE_MISSING, _missing),
    (instruments.FEATURE_OUT_OF_RANGE, _out_of_range),
    (instruments.REFERENCE_FEATURE_CATEGORIES, _reference_categories),
    (instruments.REFERENCE_FEATURE_MISSING, _reference_missing),
    (instruments.REFERENCE_FEATURE_SINGLETONS, _reference_singletons),
    (instruments.REFERENCE_DRIFT_FLOOR, _reference_floors),
    (instruments.REFERENCE_PREDICTIONS, _reference_predictions),
    (instruments.REFERENCE_LABELS, _reference_labels),
)
"""Each counter and gauge of a model, with the function that reads it."""

HISTOGRAMS: tuple[tuple[Instrument, Callable[[Recorder], Points]], ...] = (
    (instruments.QUEUE_DURATION, _queue_duration),
    (instruments.BATCH_SIZE, _batch_size),
    (instruments.PREDICTION_DURATION, _steps),
    (instruments.PREDICTION_SCORE, _scores),
    (instruments.PREDICTION_CONFIDENCE, _confidence),
    (instruments.FEATURE_VALUE, _values),
    (instruments.REFERENCE_FEATURE_VALUE, _reference_values),
    (instruments.REFERENCE_PREDICTION_SCORE, _reference_scores),
    (instruments.REFERENCE_LABEL_VALUE, _reference_label_values),
)
"""Each histogram of a model, with the function that reads it."""
