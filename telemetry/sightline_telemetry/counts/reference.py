"""The series of the training data, which never change."""

from collections.abc import Iterator

from sightline_telemetry import instruments
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import MetricAttributes
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.histogram import Snapshot
from sightline_telemetry.model.profile import SCORE_BOUNDS, ReferenceProfile


def reference_numbers(model: DescribedModel) -> Iterator[tuple[Instrument, MetricAttributes, float]]:
    """Yields the counters and gauges of a model's training data."""
    own, profile = model.id.attributes, model.profile
    for feature in profile.categorical:
        named = {**own, "feature": feature.name}
        for category, count in zip(feature.series_values, feature.series_counts, strict=True):
            yield instruments.REFERENCE_FEATURE_CATEGORIES, {**named, "category": category}, count
        yield instruments.REFERENCE_FEATURE_SINGLETONS, named, feature.singletons
    for each in profile.features:
        yield instruments.REFERENCE_FEATURE_MISSING, {**own, "feature": each.name}, each.missing
    for instrument, counts in (
        (instruments.REFERENCE_PREDICTIONS, profile.predicted),
        (instruments.REFERENCE_LABELS, profile.labels),
    ):
        for attributes, count in _by_outcome(own, profile, counts):
            yield instrument, attributes, count
    floors = profile.floors
    if floors is not None:
        for name, statistics in floors.features.items():
            for statistic, value in statistics.items():
                window = {"feature": name, "statistic": statistic, "window": f"{floors.window_s}s"}
                yield instruments.REFERENCE_DRIFT_FLOOR, {**own, **window}, value


def _by_outcome(
    own: MetricAttributes, profile: ReferenceProfile, counts: tuple[int, ...]
) -> list[tuple[MetricAttributes, int]]:
    if profile.task == "regression":
        return [(own, profile.n_rows)]
    return [({**own, "outcome": outcome}, n) for outcome, n in zip(profile.outcomes, counts, strict=True)]


def reference_histograms(model: DescribedModel) -> Iterator[tuple[Instrument, MetricAttributes, Snapshot]]:
    """Yields the histograms of a model's training data."""
    own, profile = model.id.attributes, model.profile
    for feature in profile.numeric:
        snapshot = Snapshot(feature.bounds, list(feature.counts), feature.sum)
        yield instruments.REFERENCE_FEATURE_VALUE, {**own, "feature": feature.name}, snapshot
    for score in profile.scores:
        snapshot = Snapshot(SCORE_BOUNDS, list(score.counts), score.sum)
        yield instruments.REFERENCE_PREDICTION_SCORE, {**own, "outcome": score.outcome}, snapshot
    for instrument, values in (
        (instruments.REFERENCE_PREDICTION_SCORE, profile.predicted_values),
        (instruments.REFERENCE_LABEL_VALUE, profile.label_values),
    ):
        if values is not None:
            yield instrument, own, Snapshot(values.bounds, list(values.counts), values.sum)
