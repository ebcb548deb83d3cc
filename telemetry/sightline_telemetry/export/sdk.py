"""Builds the SDK's providers and exporters, starts them, and shuts them down under a deadline.

The SDK reads the `OTEL_*` variables itself; this module only sets defaults for those that are unset.
"""

import logging
import os
from collections.abc import Mapping
from importlib import import_module
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.metrics import (
    Counter,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    TraceBasedExemplarFilter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.export.producer import LIMITS, Producer
from sightline_telemetry.export.scrape import Scrape
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.spans import SpanWriter
from sightline_telemetry.traces.trace_ring import TraceRing

if TYPE_CHECKING:
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

_log = logging.getLogger(__name__)

SHUTDOWN_S = 4.0
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DEFAULTS = {
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",  # an exemplar must be visible while its latency spike still is
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_SERVICE_NAME": "sightline",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",  # other instrumentations then use the same attribute names as our spans
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",  # the SDK counts the spans and exports that it loses
}
_PROCESS_METRICS: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "process.memory.virtual": None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
}
# Our histograms are cumulative, so every instrument is: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE is ignored.
_CUMULATIVE: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, UpDownCounter, SdkHistogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge),
    AggregationTemporality.CUMULATIVE,
)


def is_disabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns True if `OTEL_SDK_DISABLED=true` switches all telemetry off."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


class ExportReader(PeriodicExportingMetricReader):
    """Exports the data that the SDK collected, with the producer's histograms added."""

    def __init__(self, exporter: MetricExporter, producer: Producer, interval_ms: float) -> None:
        self._producer = producer
        self._process = os.getpid()
        super().__init__(exporter, export_interval_millis=interval_ms, **LIMITS)

    def collect(self, timeout_millis: float = 10_000) -> None:  # type: ignore[misc]  # final; nothing else spans it all
        """Collects one moment of the service, and exports it."""
        with self._producer.reading():
            super().collect(timeout_millis)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if os.getpid() != self._process:  # the SDK also runs in a forked child, which would send its parent's counts
            return
        super()._receive_metrics(self._producer.add_to(metrics_data), timeout_millis, **kwargs)


class Providers:
    """Holds the SDK of one process; only `start` starts it, because threads do not survive a fork.

    ring: holds kept traces in memory, if given.
    is_guest: the process belongs to another application, so nothing global is set, and neither spans nor process
    metrics are made.
    is_head_sampled: another instrumentation makes the server spans, and the SDK's sampler (OTEL_TRACES_SAMPLER)
    decides at the start of each span whether it is recorded.
    """

    def __init__(
        self,
        producer: Producer,
        ring: TraceRing | None = None,
        environment: Mapping[str, str] = os.environ,
        *,
        is_guest: bool = False,
        is_head_sampled: bool = False,
    ) -> None:
        self._producer = producer
        self._ring = ring
        self._is_guest = is_guest
        self._is_head_sampled = is_head_sampled
        self._environment = {**_DEFAULTS, **environment}
        self._meters: MeterProvider | None = None
        self.tracers: TracerProvider | None = None
        """`start` sets it, unless this is a guest."""
        self._writer: SpanWriter | None = None
        self._process_metrics: SystemMetricsInstrumentor | None = None
        self.scrape = Scrape(producer, self._resolves)
        if any(self._exports(signal) and self._is_grpc(signal) for signal in ("METRICS", "TRACES")):
            import_module(
                "opentelemetry.exporter.otlp.proto.grpc"
            )  # an optional extra: its absence must be found here, not in `start`

    @property
    def keeps_traces(self) -> bool:
        """True if kept traces are exported or held in memory."""
        return self._ring is not None or self._exports("TRACES")

    def start(self) -> None:
        """Builds the providers and exporters, and starts their threads."""
        if self._is_guest:
            self._meters = self._build_meters(_resource())
            return
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        resource = _resource()
        self._meters = self._build_meters(resource)
        # Imported here because a guest does not measure the process, and needs neither this package nor psutil.
        from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

        self._process_metrics = SystemMetricsInstrumentor(config=_PROCESS_METRICS)
        self._process_metrics.instrument(meter_provider=self._meters)
        sampler = None if self._is_head_sampled else ParentBased(ALWAYS_OFF)
        self.tracers = TracerProvider(
            sampler=sampler, resource=resource, shutdown_on_exit=False, meter_provider=self._meters
        )
        processors: list[SpanProcessor] = []
        if self._ring is not None:
            processors.append(self._ring)
        if self._exports("TRACES"):
            processors.append(BatchSpanProcessor(self._span_exporter(), meter_provider=self._meters))
        for processor in processors:
            self.tracers.add_span_processor(processor)
        self._writer = SpanWriter(resource, tuple(processors), self._producer.description)
        _set_globals(self._meters, self.tracers)

    @property
    def interval_s(self) -> float:
        """How long an exemplar is fresh: until the next export of metrics."""
        return float(self._environment["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000

    def write(self, event: RequestEvent, kind: RequestKind, reason: str) -> None:
        """Writes the spans of a kept trace; does nothing before `start`."""
        if self._writer is None:
            return
        if self._is_head_sampled:
            self._writer.write_segments(event)
        else:
            self._writer.write(event, kind, reason)

    def flush(self, wait_s: float) -> None:
        """Sends the counts so far in a thread of its own, and waits for at most `wait_s` seconds."""
        if self._meters is None or not self._exports("METRICS"):
            return
        thread = Thread(target=self._meters.force_flush, daemon=True)
        thread.start()
        thread.join(wait_s)

    def shutdown(self) -> None:
        """Sends the remaining data and stops within SHUTDOWN_S seconds; retries to a dead endpoint are cut off.

        The reader's running thread sends the last metrics, because Python 3.12 starts no new thread at exit.
        """
        deadline = monotonic() + SHUTDOWN_S
        if self._process_metrics is not None:
            self._process_metrics.uninstrument()
        spans = None if self.tracers is None else Thread(target=self.tracers.shutdown, daemon=True)
        if spans is not None:
            spans.start()
        if self._meters is not None:
            try:
                self._meters.shutdown(timeout_millis=SHUTDOWN_S * 1000)
            except Exception:
                _log.warning("the metrics could not be shut down", exc_info=True)
        if spans is not None:
            spans.join(max(0.0, deadline - monotonic()))
        if monotonic() >= deadline:
            _log.warning("the telemetry endpoint did not answer in %s s: the last interval is lost", SHUTDOWN_S)

    def _build_meters(self, resource: Resource) -> MeterProvider:
        readers: list[MetricReader] = [self.scrape.reader]
        if self._exports("METRICS"):
            interval_ms = float(self._environment["OTEL_METRIC_EXPORT_INTERVAL"])
            readers.append(ExportReader(self._metric_exporter(), self._producer, interval_ms))
        meters = MeterProvider(readers, resource, exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False)
        self._producer.register(meters.get_meter("sightline"))
        return meters

    def _exports(self, signal: str) -> bool:
        if is_disabled(self._environment):
            return False
        return bool(self._environment.get(_ENDPOINT) or self._environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))

    def _is_grpc(self, signal: str) -> bool:
        general = self._environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        return self._environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", general) == "grpc"

    def _span_exporter(self) -> SpanExporter:
        if self._is_grpc("TRACES"):  # imported here because each of the two exporters costs 16 to 31 MB
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

            return GrpcSpanExporter(meter_provider=self._meters)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(meter_provider=self._meters)

    def _metric_exporter(self) -> MetricExporter:
        if self._is_grpc("METRICS"):
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter

            return GrpcMetricExporter(preferred_temporality=_CUMULATIVE)
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(preferred_temporality=_CUMULATIVE)

    def _resolves(self, trace_id: int) -> bool:
        return self._exports("TRACES") or (self._ring is not None and self._ring.holds(trace_id))


def _resource() -> Resource:
    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": _DEFAULTS["OTEL_SERVICE_NAME"]}))
    if "service.instance.id" not in resource.attributes:
        resource = resource.merge(Resource({"service.instance.id": str(uuid4())}))
    return resource


def _set_globals(meters: MeterProvider, tracers: TracerProvider) -> None:
    """Sets the global providers, so that other instrumentations add spans to our traces; the first app wins."""
    if isinstance(trace_api.get_tracer_provider(), trace_api.ProxyTracerProvider):
        trace_api.set_tracer_provider(tracers)
        metrics_api.set_meter_provider(meters)
