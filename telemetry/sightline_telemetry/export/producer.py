"""Hands the counts to OpenTelemetry: as observable instruments, and as histograms that are already aggregated.

Counters and gauges are observable instruments of the metrics API. The API has no observable histogram, and calling
`record` costs more than a prediction. The data points of histograms are therefore built here and added to the SDK's
data when a reader passes that on. The specification calls this a MetricProducer; Python's SDK does not have it yet
(https://github.com/open-telemetry/opentelemetry-python/issues/4768).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import time_ns
from typing import Any, TypeVar

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics import ObservableCounter, ObservableGauge
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sightline_telemetry import instruments
from sightline_telemetry.export.gil_yield import GilYield, YieldingList
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.counts import Exemplar, ExemplarBuckets, Snapshot
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import LABEL_BOUNDS, LABEL_COUNTERS, Quality
from sightline_telemetry.model.recorder import Recorder
from sightline_telemetry.model.series import HISTOGRAMS, NUMBERS, MetricAttributes, Numbers, Points, by
from sightline_telemetry.requests.golden_signals import GoldenSignals
from sightline_telemetry.requests.tail_sampling import TailSampler

# Label values come from the training vocabulary only, so the SDK's default limit of 2,000 attribute sets would cut
# known series.
LIMITS: dict[str, Any] = {"cardinality_limits": {ObservableCounter: 1_000_000, ObservableGauge: 1_000_000}}

# If two scopes in a batch are equal, the OTLP encoder sends only the last, so this scope must differ from the meter's.
HISTOGRAM_SCOPE = InstrumentationScope("sightline.histograms")

T = TypeVar("T")


class Producer:
    """Reads the counts of one process and converts them to OpenTelemetry's data.

    Models, queues and labels may be added until `register` is called.
    """

    def __init__(
        self,
        signals: GoldenSignals,
        recorders: Sequence[Recorder],
        sampler: TailSampler,
        faults: Faults,
    ) -> None:
        self._signals = signals
        self._recorders = list(recorders)
        self._sampler = sampler
        self._faults = faults
        self._queues: list[tuple[ModelId, Callable[[], int]]] = []
        self._quality: Callable[[], Quality | None] = lambda: None
        self._start_ns = time_ns()

    def add_model(self, recorder: Recorder) -> None:
        """Adds the recorder of a model, whose counts are exported."""
        self._recorders.append(recorder)

    def add_queue(self, model: ModelId, queued_rows: Callable[[], int]) -> None:
        """Adds the queue before a model. queued_rows: a function that returns how many rows wait now."""
        self._queues.append((model, queued_rows))

    def add_labels(self, quality: Callable[[], Quality | None]) -> None:
        """Adds the totals of labels. quality: returns the totals as last read, or None before the first read."""
        self._quality = quality

    def register(self, meter: Meter) -> None:
        """Creates the observable instruments with a meter."""
        observables: tuple[tuple[Instrument, Callable[[], Numbers]], ...] = (
            (instruments.ACTIVE_REQUESTS, self._active),
            (instruments.TRACES_KEPT, partial(by, "reason", self._sampler.kept)),
            (instruments.TRACES_OVER_BUDGET, partial(by, "reason", self._sampler.over_budget)),
            (instruments.FAULTS, partial(by, "place", self._faults.counts)),
            (instruments.QUEUE_LENGTH, self._queue_lengths),
            *((instrument, partial(self._each, read)) for instrument, read in NUMBERS),
            *((instrument, partial(self._labelled, instrument)) for instrument in LABEL_COUNTERS),
        )
        for instrument, read in observables:
            _observe(meter, instrument, partial(self._read, read))

    def histograms(self, read: Callable[[ExemplarBuckets], Snapshot]) -> Iterator[tuple[Instrument, Points]]:
        """Yields every histogram with its points; the counts are read when the points are iterated.

        read: reads the request durations, with the exemplars that the export needs.
        """
        durations = list(self._signals.durations.items())
        points = ((kind.attributes, read(buckets)) for kind, buckets in durations)
        yield instruments.REQUEST_DURATION, self._contained(points)
        for instrument, read_points in HISTOGRAMS:
            yield instrument, self._contained(self._each(read_points))
        labels = self._quality()
        if labels is not None:
            for instrument in LABEL_BOUNDS:
                yield instrument, self._contained(labels.snapshots(instrument))

    def add_to(self, metrics: MetricsData) -> MetricsData:
        """Returns the SDK's data of one export with the histograms added, in a scope of their own."""
        resource = metrics.resource_metrics[0]
        scope = ScopeMetrics(HISTOGRAM_SCOPE, list(self._metrics()), schema_url="")
        ours = replace(resource, scope_metrics=[*resource.scope_metrics, scope])
        return replace(metrics, resource_metrics=[ours, *metrics.resource_metrics[1:]])

    def _metrics(self) -> Iterator[Metric]:
        gil_yield, now_ns = GilYield(), time_ns()
        for instrument, points in self.histograms(ExemplarBuckets.read_fresh):
            gil_yield.keep()
            histograms = [self._point(attributes, snapshot, now_ns) for attributes, snapshot in points]
            if histograms:
                data = Histogram(YieldingList(histograms, gil_yield), AggregationTemporality.CUMULATIVE)
                yield Metric(instrument.name, instrument.description, instrument.unit, data)

    def _point(self, attributes: MetricAttributes, snapshot: Snapshot, now_ns: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._start_ns,
            time_unix_nano=now_ns,
            count=snapshot.count,
            sum=snapshot.sum,
            bucket_counts=snapshot.counts,
            explicit_bounds=snapshot.bounds,
            min=None,  # type: ignore[arg-type]  # optional in OTLP; without meaning in a cumulative histogram
            max=None,  # type: ignore[arg-type]
            exemplars=[_sdk_exemplar(exemplar) for exemplar in snapshot.exemplars],
        )

    def _each(
        self, read: Callable[[Recorder], Iterable[tuple[MetricAttributes, T]]]
    ) -> Iterator[tuple[MetricAttributes, T]]:
        for recorder in self._recorders:
            model = recorder.model.attributes
            for attributes, value in read(recorder):
                yield {**model, **attributes}, value

    def _labelled(self, instrument: Instrument) -> Numbers:
        labels = self._quality()
        return () if labels is None else labels.counts(instrument)

    def _read(self, read: Callable[[], Numbers]) -> Numbers:
        return self._contained(read())

    def _contained(self, series: Iterable[T]) -> Iterator[T]:
        """Yields the series up to the first fault, which must not stop a scrape or the exporting thread."""
        with self._faults.contained("reading"):
            yield from series

    def _queue_lengths(self) -> Numbers:
        for model, queued_rows in self._queues:
            yield model.attributes, queued_rows()

    def _active(self) -> Numbers:
        for (method, scheme), count in list(self._signals.active.items()):
            yield {"http.request.method": method, "url.scheme": scheme}, count


def _observe(meter: Meter, instrument: Instrument, read: Callable[[], Numbers]) -> None:
    def callback(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, attributes) for attributes, value in read()]

    create = {
        "counter": meter.create_observable_counter,
        "updowncounter": meter.create_observable_up_down_counter,
        "gauge": meter.create_observable_gauge,
    }[instrument.kind]
    create(instrument.name, [callback], instrument.unit, instrument.description)


def _sdk_exemplar(exemplar: Exemplar) -> SdkExemplar:
    return SdkExemplar({}, exemplar.value, exemplar.time_ns, exemplar.span_id, exemplar.trace_id)
