"""The SDK in a worker, for the spans and instruments of others: what is not used costs nothing."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from time import monotonic

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader as PeriodicReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from sightline_telemetry.export.exporters import CUMULATIVE, Exporters, resource_with, set_defaults, set_globals

STOP_S = 2.0
"""A worker has five seconds to end, in which it answers its last requests too."""


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
        os.environ.setdefault("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "false")  # or there would always be data
        set_defaults()
        resource: Resource = resource_with(self._attributes)
        exporters = self._exporters
        on_demand = [_MetricsOnDemand(partial(exporters.metrics, kind)) for kind in exporters.kinds("METRICS")]
        readers = [PeriodicReader(each, export_interval_millis=exporters.interval_ms) for each in on_demand]
        self._meters = MeterProvider(readers, resource, shutdown_on_exit=False)
        sampler = None if is_head_sampled else ParentBased(ALWAYS_OFF)
        self.tracers = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        for kind in exporters.kinds("TRACES"):
            self.tracers.add_span_processor(BatchSpanProcessor(_SpansOnDemand(partial(exporters.spans, kind, None))))
        set_globals(self._meters, self.tracers)

    def stop(self) -> None:
        """Sends what is left within STOP_S seconds; retries to a dead endpoint are cut off."""
        deadline = monotonic() + STOP_S
        spans = None if self.tracers is None else Thread(target=self.tracers.shutdown, daemon=True)
        if spans is not None:
            spans.start()
        if self._meters is not None:
            with suppress(Exception):  # an endpoint that does not answer must not stop the worker from ending in time
                self._meters.shutdown(timeout_millis=STOP_S * 1000)
        if spans is not None:
            spans.join(max(0.0, deadline - monotonic()))
