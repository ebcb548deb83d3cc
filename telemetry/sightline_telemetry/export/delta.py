"""Exports of what came since the last export that arrived, for backends that want deltas.

All counts are cumulative here. A delta is the difference to the last export that arrived: one that fails, or that a
collector loses while it restarts, is part of the next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    Sum,
)

from sightline_telemetry.instruments import INSTRUMENTS

DELTA_PREFERENCES = ("delta", "lowmemory")
"""With `lowmemory`, counters that are read and not counted (those of the process) stay cumulative."""

_READ = frozenset(each.name for each in INSTRUMENTS if each.source == "process")

Point = TypeVar("Point", NumberDataPoint, HistogramDataPoint)
Points = dict[tuple[Any, ...], Any]


class DeltaExporter(MetricExporter):
    """Hands differences of counters and histograms to an exporter; gauges and up-down counters pass as they are.

    exporter: takes the differences. preference: one of DELTA_PREFERENCES.
    """

    def __init__(self, exporter: MetricExporter, preference: str) -> None:
        super().__init__(exporter._preferred_temporality)  # noqa: SLF001  # cumulative, as the SDK shall collect
        self._exporter = exporter
        self._cumulative = _READ if preference == "lowmemory" else frozenset()
        self._arrived: Points = {}

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Exports the differences to the last export that arrived."""
        points: Points = {}
        parts = [self._of_resource(each, points) for each in metrics_data.resource_metrics]
        result = self._exporter.export(replace(metrics_data, resource_metrics=parts), timeout_millis, **kwargs)
        if result is MetricExportResult.SUCCESS:
            self._arrived.update(points)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Sends what waits."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Ends the exporter."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def _of_resource(self, resource: ResourceMetrics, points: Points) -> ResourceMetrics:
        scopes = [
            replace(scope, metrics=[self._of_metric(metric, scope.scope.name, points) for metric in scope.metrics])
            for scope in resource.scope_metrics
        ]
        return replace(resource, scope_metrics=scopes)

    def _of_metric(self, metric: Metric, scope: str, points: Points) -> Metric:
        data = metric.data
        if metric.name in self._cumulative:
            return metric
        if isinstance(data, Sum) and data.is_monotonic:
            numbers = self._differences((scope, metric.name), data.data_points, points, _number_since)
            return replace(metric, data=replace(data, data_points=numbers, aggregation_temporality=_DELTA))
        if isinstance(data, Histogram):
            histograms = self._differences((scope, metric.name), data.data_points, points, _histogram_since)
            return replace(metric, data=Histogram(histograms, _DELTA))
        return metric

    def _differences(
        self,
        key: tuple[str, str],
        now: Sequence[Point],
        points: Points,
        since: Callable[[Point, Point], Point],
    ) -> list[Point]:
        found = []
        for point in now:
            series = (*key, _key(point.attributes))
            before = self._arrived.get(series)
            points[series] = point
            # A smaller count began at 0 again: that of a process in the place of another.
            has_grown = before is not None and _size(before) <= _size(point)
            found.append(since(point, before) if has_grown else point)  # type: ignore[arg-type]
        return found


_DELTA = AggregationTemporality.DELTA


def _key(attributes: Mapping[str, Any] | None) -> frozenset[tuple[str, Any]]:
    return frozenset((attributes or {}).items())


def _size(point: NumberDataPoint | HistogramDataPoint) -> float:
    return point.count if isinstance(point, HistogramDataPoint) else point.value


def _number_since(now: NumberDataPoint, before: NumberDataPoint) -> NumberDataPoint:
    return replace(now, value=now.value - before.value, start_time_unix_nano=before.time_unix_nano)


def _histogram_since(now: HistogramDataPoint, before: HistogramDataPoint) -> HistogramDataPoint:
    return replace(
        now,
        count=now.count - before.count,
        sum=now.sum - before.sum,
        bucket_counts=[n - m for n, m in zip(now.bucket_counts, before.bucket_counts, strict=True)],
        start_time_unix_nano=before.time_unix_nano,
    )
