"""The scrape endpoint: OpenMetrics with exemplars, or classic text, as the client's `Accept` header asks.

Sums and gauges come through the SDK's own Prometheus reader; histograms come straight from the producer,
because that reader drops exemplars (https://github.com/open-telemetry/opentelemetry-python/issues/4228).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from threading import Lock

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric
from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Family
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as FamilyExemplar
from prometheus_client.utils import floatToGoString

from telemetry.counts import DottedBuckets, Snapshot
from telemetry.producer import Producer

Bucket = tuple[str, float] | tuple[str, float, FamilyExemplar]


class ScrapeReader(PrometheusMetricReader):
    """The SDK's reader, less a trap: after its `force_flush` the next scrape would show every sample twice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(scope_info_enabled=False, registry=registry)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  # the signature is the SDK's
        """Nothing to do: a scrape collects for itself."""
        return True


class Scrape:
    """What `/metrics` answers.

    resolves: whether the trace with this id can still be read; exemplars of others are left out.
    is_only_reader: no exporter reads besides, so a scrape is what starts the next interval of exemplars.
    """

    def __init__(self, producer: Producer, resolves: Callable[[int], bool], *, is_only_reader: bool) -> None:
        self._lock = Lock()
        self._registry = CollectorRegistry()
        self.reader = ScrapeReader(self._registry)
        self._registry.register(_Histograms(producer, resolves, is_only_reader))

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type."""
        encode, content_type = choose_encoder(accept)
        with self._lock:  # of two scrapes at once the SDK's reader would show one every sample twice
            return encode(self._registry), content_type


class _Histograms(Collector):
    def __init__(self, producer: Producer, resolves: Callable[[int], bool], is_only_reader: bool) -> None:
        self._producer = producer
        self._resolves = resolves
        self._is_only_reader = is_only_reader

    def describe(self) -> list[Family]:
        """Nothing: describing would count as a scrape."""
        return []

    def collect(self) -> Iterator[Family]:
        for metric in self._producer.histograms(self._read):
            yield self._family(metric)

    def _read(self, buckets: DottedBuckets) -> Snapshot:
        return buckets.read_latest(starts_interval=self._is_only_reader)

    def _family(self, metric: Metric) -> HistogramMetricFamily:
        assert isinstance(metric.data, Histogram)  # noqa: S101  # the producer makes nothing else
        points = metric.data.data_points
        keys = sorted({key for point in points for key in point.attributes or {}})
        unit = {"s": "seconds"}.get(metric.unit or "", "")
        family = HistogramMetricFamily(
            metric.name.replace(".", "_") + (f"_{unit}" if unit else ""),
            metric.description or "",
            labels=[key.replace(".", "_") for key in keys],
            unit=unit,
        )
        for point in points:
            labels = [str((point.attributes or {}).get(key, "")) for key in keys]
            # A sum below 0 is none that OpenMetrics allows: strict readers would throw away the whole scrape.
            family.add_metric(labels, self._cumulative(point), point.sum if point.sum >= 0 else None)
        return family

    def _cumulative(self, point: HistogramDataPoint) -> list[Bucket]:
        exemplars = {
            bisect_left(point.explicit_bounds, exemplar.value): _exemplar(exemplar)
            for exemplar in point.exemplars
            if exemplar.trace_id is not None and self._resolves(exemplar.trace_id)
        }
        cumulative: list[Bucket] = []
        total = 0
        for bucket, count in enumerate(point.bucket_counts):
            total += count
            is_last = bucket == len(point.explicit_bounds)
            bound = "+Inf" if is_last else floatToGoString(point.explicit_bounds[bucket])  # type: ignore[no-untyped-call]
            exemplar = exemplars.get(bucket)
            cumulative.append((bound, float(total)) if exemplar is None else (bound, float(total), exemplar))
        return cumulative


def _exemplar(exemplar: Exemplar) -> FamilyExemplar:
    labels = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    return FamilyExemplar(labels, float(exemplar.value), exemplar.time_unix_nano / 1e9)
