"""Hands the counts to OpenTelemetry: as observable instruments, and as histograms that are already aggregated.

Counters and gauges are observable instruments of the metrics API. The API has no observable histogram, and calling
`record` costs more than a prediction. The data points of histograms are therefore built here and added to the SDK's
data when a reader passes that on. The specification calls this a MetricProducer; Python's SDK does not have it yet
(https://github.com/open-telemetry/opentelemetry-python/issues/4768).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from threading import local
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
from sightline_telemetry.counts.reference import reference_histograms, reference_numbers
from sightline_telemetry.counts.series import MetricAttributes, SeriesTable
from sightline_telemetry.events.http_codes import METHODS, SCHEMES
from sightline_telemetry.export.reading import Reading
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.histogram import Exemplar, Snapshot
from sightline_telemetry.model.quality import LABEL_BOUNDS, LABEL_COUNTERS
from sightline_telemetry.requests.request_kind import OTHER

# Label values come from the training vocabulary only, so the SDK's default limit of 2,000 attribute sets would cut
# known series.
LIMITS: dict[str, Any] = {"cardinality_limits": {ObservableCounter: 1_000_000, ObservableGauge: 1_000_000}}

# If two scopes in a batch are equal, the OTLP encoder sends only the last, so this scope must differ from the meter's.
HISTOGRAM_SCOPE = InstrumentationScope("sightline.histograms")

T = TypeVar("T")
Numbers = dict[str, list[tuple[MetricAttributes, float]]]
Points = list[tuple[MetricAttributes, Snapshot]]


class Producer:
    """Converts readings to OpenTelemetry's data.

    read: returns the state of the service now; each export and each scrape calls it once, so it shows one moment.
    """

    def __init__(
        self, table: SeriesTable, read: Callable[[], Reading], faults: Faults, *, start_ns: int | None = None
    ) -> None:
        self._table = table
        self.description = table.description
        self._read = read
        self._faults = faults
        self._current = local()
        self._start_ns = start_ns or time_ns()
        self._exported: frozenset[Exemplar] = frozenset()
        self._training: Numbers = defaultdict(list)
        for model in table.description.models:
            for instrument, attributes, value in reference_numbers(model):
                self._training[instrument.name].append((attributes, value))
        self._training_histograms = [each for model in table.description.models for each in reference_histograms(model)]

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Reads the state of the service; what this thread produces within the block shows that moment."""
        reading = self._current.reading = self._read()
        self._current.numbers = None
        try:
            yield reading
        finally:
            del self._current.reading, self._current.numbers

    def register(self, meter: Meter) -> None:
        """Creates the observable instruments with a meter."""
        for instrument in instruments.INSTRUMENTS:
            if instrument.kind != "histogram" and instrument.source != "process":
                observe(meter, instrument, partial(self._numbers, instrument))

    def histograms(self, reading: Reading) -> list[tuple[Instrument, Points]]:
        """Returns every histogram with its points."""
        points: dict[str, Points] = {name: [] for name in _HISTOGRAMS}
        for kind, snapshot in reading.counts.durations(self._table):
            if not snapshot.count and not self.description.expected:
                continue  # what serves no request has no series of requests
            exemplars = reading.exemplars.get(kind, ())
            points[instruments.REQUEST_DURATION.name].append((kind.attributes, replace(snapshot, exemplars=exemplars)))
        for series, snapshot in reading.counts.histograms(self._table):
            points[series.instrument.name].append((series.attributes, snapshot))
        for instrument, attributes, snapshot in self._training_histograms:
            points[instrument.name].append((attributes, snapshot))
        if reading.labels is not None:
            for instrument in LABEL_BOUNDS:
                with self._faults.contained("reading"):
                    points[instrument.name] = list(reading.labels.snapshots(instrument))
        return [(instrument, points[name]) for name, instrument in _HISTOGRAMS.items() if points[name]]

    def add_to(self, metrics: MetricsData) -> MetricsData:
        """Returns the SDK's data of one export with the histograms added, in a scope of their own."""
        resource = metrics.resource_metrics[0]
        scope = ScopeMetrics(HISTOGRAM_SCOPE, list(self._metrics(self._current.reading)), schema_url="")
        ours = replace(resource, scope_metrics=[*resource.scope_metrics, scope])
        return replace(metrics, resource_metrics=[ours, *metrics.resource_metrics[1:]])

    def _metrics(self, reading: Reading) -> Iterator[Metric]:
        now_ns, exported = time_ns(), self._exported
        self._exported = frozenset(chain.from_iterable(reading.exemplars.values()))
        for instrument, points in self.histograms(reading):
            data = [self._point(attributes, snapshot, now_ns, exported) for attributes, snapshot in points]
            histogram = Histogram(data, AggregationTemporality.CUMULATIVE)
            yield Metric(instrument.name, instrument.description, instrument.unit, histogram)

    def _point(
        self, attributes: MetricAttributes, snapshot: Snapshot, now_ns: int, exported: frozenset[Exemplar]
    ) -> HistogramDataPoint:
        """Returns the point of one export; an exemplar is exported once. exported: those of the export before."""
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
            exemplars=[_sdk_exemplar(each) for each in snapshot.exemplars if each not in exported],
        )

    def _numbers(self, instrument: Instrument) -> list[tuple[MetricAttributes, float]]:
        """Returns the series of a counter or gauge; a fault must not stop a scrape or the exporting thread."""
        reading = getattr(self._current, "reading", None)
        if reading is None:  # a reader of another library collects: it gets a moment of its own
            with self.reading():
                return self._numbers(instrument)
        with self._faults.contained("reading"):
            if self._current.numbers is None:
                self._current.numbers = self._all_numbers(reading)
            found: list[tuple[MetricAttributes, float]] = self._current.numbers.get(instrument.name, [])
            if instrument in LABEL_COUNTERS and reading.labels is not None:
                return list(reading.labels.counts(instrument))
            return found
        return []

    def _all_numbers(self, reading: Reading) -> Numbers:
        numbers: Numbers = defaultdict(list, self._training)
        for series, value in reading.counts.numbers(self._table):
            numbers[series.instrument.name].append((series.attributes, value))
        numbers[instruments.ACTIVE_REQUESTS.name].extend(_active(reading))
        for name, n in reading.deaths.items():
            numbers[instruments.WORKER_DEATHS.name].append(({"signal": name}, n))
        for model, n_rows in reading.queued_rows.items():
            numbers[instruments.QUEUE_LENGTH.name].append((model.attributes, n_rows))
        return numbers


def _active(reading: Reading) -> Iterator[tuple[MetricAttributes, int]]:
    """Yields the running requests by method; one that no series of durations has counts as other."""
    schemes = {kind.method: kind.scheme for kind in reading.counts.kinds}
    running = dict.fromkeys(schemes, 0)
    for index, n in enumerate(reading.active):
        method = METHODS[index // len(SCHEMES)]
        running[method if method in running else OTHER.method] += n
    for method, n in running.items():
        yield {"http.request.method": method, "url.scheme": schemes[method]}, n


_HISTOGRAMS = {each.name: each for each in instruments.INSTRUMENTS if each.kind == "histogram"}


def observe(meter: Meter, instrument: Instrument, read: Callable[[], Iterable[tuple[MetricAttributes, float]]]) -> None:
    """Creates an observable instrument. read: returns its series."""

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
