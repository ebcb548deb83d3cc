"""Collects metrics and spans in memory, for our tests and for users' tests."""

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricsData,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from sightline_telemetry.export.producer import Producer

Point = HistogramDataPoint | int | float


class MetricsInMemory(InMemoryMetricReader):
    """Collects metrics on each call of `points`, including the producer's histograms."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        super().__init__()

    def collect(self, timeout_millis: float = 10_000) -> None:  # type: ignore[misc]  # as ExportReader does
        """Collects one moment of the service."""
        with self._producer.reading():
            super().collect(timeout_millis)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> None:
        super()._receive_metrics(self._producer.add_to(metrics_data), timeout_millis, **kwargs)

    def points(self, name: str) -> list[tuple[dict[str, object], Point]]:
        """Returns attributes and value of each data point of one instrument: a number, or a histogram's point."""
        data = self.get_metrics_data()
        if data is None:
            return []
        metrics = (m for r in data.resource_metrics for scope in r.scope_metrics for m in scope.metrics)
        return [
            (dict(point.attributes or {}), point if isinstance(point, HistogramDataPoint) else point.value)
            for metric in metrics
            if metric.name == name
            for point in metric.data.data_points
            if not isinstance(point, ExponentialHistogramDataPoint)
        ]


class SpansInMemory(SpanProcessor):
    """Keeps every finished span in a list."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Adds a finished span to the list."""
        self.spans.append(span)
