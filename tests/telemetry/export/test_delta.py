"""Exports as differences, over a real exporter to an endpoint that fails at times."""

from collections import Counter

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from sightline_telemetry.export.delta import DeltaExporter
from sightline_telemetry.export.exporters import CUMULATIVE
from tests.telemetry.sink import Sink

pytestmark = pytest.mark.usefixtures("no_otel_variables")

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def meters(sink: Sink, preference: str) -> MeterProvider:
    """A provider that exports when it is told to."""
    exporter = OTLPMetricExporter(f"{sink.url}/v1/metrics", preferred_temporality=CUMULATIVE)
    reader = PeriodicExportingMetricReader(DeltaExporter(exporter, preference), export_interval_millis=1e9)
    return MeterProvider([reader], shutdown_on_exit=False)


def arrived(sink: Sink, name: str) -> list[Metric]:
    """The metric of a name in each export that came."""
    return [
        metric
        for request in sink.metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    ]


def test_differences_add_up_whatever_fails(sink: Sink) -> None:
    """Deltas of counters and histograms add up to what happened, exports that failed included, without gaps in time."""
    provider = meters(sink, "delta")
    meter = provider.get_meter("test")
    counter, histogram = meter.create_counter("rows"), meter.create_histogram("seconds")
    level = meter.create_up_down_counter("level")
    for number in range(1, 7):
        counter.add(number, {"a": number % 2})
        histogram.record(number)
        level.add(1)
        sink.refuses = number in (2, 3, 5)
        provider.force_flush()
    provider.shutdown()
    rows, seconds, levels = (arrived(sink, name) for name in ("rows", "seconds", "level"))
    assert {each.sum.aggregation_temporality for each in rows} == {DELTA}
    assert {each.histogram.aggregation_temporality for each in seconds} == {DELTA}
    total: Counter[int] = Counter()
    for point in (point for each in rows for point in each.sum.data_points):
        total[point.attributes[0].value.int_value] += point.as_int
    assert total == {0: 2 + 4 + 6, 1: 1 + 3 + 5}
    points = [each.histogram.data_points[0] for each in seconds]
    assert (sum(point.count for point in points), sum(point.sum for point in points)) == (6, 21)
    assert [point.start_time_unix_nano for point in points[1:]] == [point.time_unix_nano for point in points[:-1]]
    assert [each.sum.data_points[0].as_int for each in levels][:3] == [1, 4, 6]


@pytest.mark.parametrize(("preference", "values"), [("delta", [3, 4, 2]), ("lowmemory", [3, 7, 2])])
def test_what_is_read_of_a_process(sink: Sink, preference: str, values: list[int]) -> None:
    """A counter that is read stays cumulative with `lowmemory`; one that begins at 0 again counts from there."""
    readings = iter([3, 7, 2, 2])
    provider = meters(sink, preference)

    def read(_: CallbackOptions) -> list[Observation]:
        return [Observation(next(readings))]

    provider.get_meter("test").create_observable_counter("process.cpu.time", [read])
    for _ in values:
        provider.force_flush()
    provider.shutdown()
    assert [each.sum.data_points[0].as_int for each in arrived(sink, "process.cpu.time")][:3] == values
