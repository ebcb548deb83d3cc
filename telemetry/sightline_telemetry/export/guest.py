"""The SDK in a worker, for the spans and instruments of others: what is not used costs nothing."""

import os
from collections.abc import Callable, Sequence

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader as PeriodicReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from sightline_telemetry.export.exporters import CUMULATIVE, Exporters, resource_with, set_defaults, set_globals


class _SpansOnDemand(SpanExporter):
    """Makes the real exporter when the first span is exported: it costs 16 to 31 MB."""

    def __init__(self, make: Callable[[], SpanExporter]) -> None:
        self._make = make
        self._made: SpanExporter | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends finished spans."""
        if self._made is None:
            self._made = self._make()
        return self._made.export(spans)

    def shutdown(self) -> None:
        """Shuts the exporter down, if there is one."""
        if self._made is not None:
            self._made.shutdown()


class _MetricsOnDemand(MetricExporter):
    """Makes the real exporter when the first instrument has data."""

    def __init__(self, make: Callable[[], MetricExporter]) -> None:
        super().__init__(preferred_temporality=CUMULATIVE)
        self._make = make
        self._made: MetricExporter | None = None

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        """Sends metrics."""
        if self._made is None:
            self._made = self._make()
        return self._made.export(metrics_data, timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  # the signature is the SDK's
        """Returns True: exports are synchronous."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Shuts the exporter down, if there is one."""
        if self._made is not None:
            self._made.shutdown(timeout_millis, **kwargs)


class GuestProviders:
    """The SDK of a worker whose requests another process observes.

    attributes: of the resource, unless the environment sets them.
    """

    def __init__(self, attributes: dict[str, str]) -> None:
        self._attributes = attributes
        self._exporters = Exporters(os.environ)
        self._exporters.check()
        self._meters: MeterProvider | None = None
        self.tracers: TracerProvider | None = None

    def start(self, *, is_head_sampled: bool) -> None:
        """Builds the providers and makes them the global ones."""
        set_defaults()
        resource: Resource = resource_with(self._attributes)
        exporters = self._exporters
        readers = []
        if exporters.exports("METRICS"):
            on_demand = _MetricsOnDemand(exporters.metrics)
            readers.append(PeriodicReader(on_demand, export_interval_millis=exporters.interval_ms))
        self._meters = MeterProvider(readers, resource, shutdown_on_exit=False)
        sampler = None if is_head_sampled else ParentBased(ALWAYS_OFF)
        self.tracers = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        if exporters.exports("TRACES"):
            self.tracers.add_span_processor(BatchSpanProcessor(_SpansOnDemand(lambda: exporters.spans(None))))
        set_globals(self._meters, self.tracers)

    def stop(self) -> None:
        """Sends what is left."""
        for provider in (self.tracers, self._meters):
            if provider is not None:
                provider.shutdown()
