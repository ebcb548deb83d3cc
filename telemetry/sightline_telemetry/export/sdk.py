"""Builds the SDK's providers, starts them, and shuts them down under a deadline."""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from threading import Thread
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.events.seats import ProcessWords
from sightline_telemetry.export.exporters import Exporters, resource_with, set_defaults, set_globals
from sightline_telemetry.export.producer import LIMITS, Producer, observe
from sightline_telemetry.export.scrape import Scrape
from sightline_telemetry.export.variables import bad_values
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.lost import LostRequest
from sightline_telemetry.traces.spans import SpanWriter
from sightline_telemetry.traces.trace_ring import TraceRing

if TYPE_CHECKING:
    from sightline_telemetry.export.log_export import LogExport

_log = logging.getLogger(__name__)

SHUTDOWN_S = 4.0


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
    is_guest: the process belongs to another application, so nothing global is set, no spans are made, and the process
    is not measured.
    is_head_sampled: another instrumentation makes the server spans, and the SDK's sampler (OTEL_TRACES_SAMPLER)
    decides at the start of each span whether it is recorded.
    attributes: of the resource, unless the environment sets them. workers: the processes that are measured; empty for
    this process.
    """

    def __init__(
        self,
        producer: Producer,
        ring: TraceRing | None = None,
        environment: Mapping[str, str] = os.environ,
        *,
        is_guest: bool = False,
        is_head_sampled: bool = False,
        attributes: Mapping[str, str] = MappingProxyType({}),
        workers: Sequence[ProcessWords] = (),
    ) -> None:
        self._producer = producer
        self._ring = ring
        self._is_guest = is_guest
        self._is_head_sampled = is_head_sampled
        self._attributes = attributes
        self._workers = workers
        self._exporters = Exporters(environment)
        self._meters: MeterProvider | None = None
        self.tracers: TracerProvider | None = None
        """`start` sets it, unless this is a guest."""
        self._writer: SpanWriter | None = None
        self._logs: LogExport | None = None
        self.scrape = Scrape(producer, self._resolves)
        self._exporters.check()

    @property
    def keeps_traces(self) -> bool:
        """True if kept traces are exported or held in memory."""
        return self._ring is not None or self._exporters.exports("TRACES")

    def start(self) -> None:
        """Builds the providers and exporters, and starts their threads."""
        if self._is_guest:
            for line in bad_values(os.environ):
                _log.warning(line)
            self._meters = self._build_meters(resource_with(self._attributes))
            return
        set_defaults()
        resource = resource_with(self._attributes)
        self._meters = self._build_meters(resource)
        sampler = None if self._is_head_sampled else ParentBased(ALWAYS_OFF)
        self.tracers = TracerProvider(
            sampler=sampler, resource=resource, shutdown_on_exit=False, meter_provider=self._meters
        )
        processors: list[SpanProcessor] = []
        if self._ring is not None:
            processors.append(self._ring)
        exporters = [self._exporters.spans(kind, self._meters) for kind in self._exporters.kinds("TRACES")]
        processors += [BatchSpanProcessor(each, meter_provider=self._meters) for each in exporters]
        for processor in processors:
            self.tracers.add_span_processor(processor)
        self._writer = SpanWriter(resource, tuple(processors), self._producer.description)
        set_globals(self._meters, self.tracers)
        if self._exporters.exports("LOGS"):
            from sightline_telemetry.export.log_export import LogExport  # the SDK's logs take 4 MB

            self._logs = LogExport(self._exporters, resource)

    def write_line(self, line: bytes) -> None:
        """Exports a line of the log, where logs are exported."""
        if self._logs is not None:
            self._logs.write(line)

    @property
    def has_exemplars(self) -> bool:
        """False if exemplars are switched off, and in a guest, whose traces are not ours."""
        return self._exporters.has_exemplars and not self._is_guest

    @property
    def interval_s(self) -> float:
        """How long an exemplar is fresh: until the next export of metrics."""
        return self._exporters.interval_ms / 1000

    def write(self, event: RequestEvent, kind: RequestKind, reason: str) -> None:
        """Writes the spans of a kept trace; does nothing before `start`."""
        if self._writer is None:
            return
        if self._is_head_sampled:
            self._writer.write_segments(event)
        else:
            self._writer.write(event, kind, reason)

    def write_lost(self, lost: LostRequest, signal_name: str) -> None:
        """Writes the span of a request that ended with its worker."""
        if self._writer is not None:
            self._writer.write_lost(lost, signal_name)

    def flush(self, wait_s: float) -> None:
        """Sends the counts so far in a thread of its own, and waits for at most `wait_s` seconds."""
        if self._meters is None or not self._exporters.exports("METRICS"):
            return
        thread = Thread(target=self._meters.force_flush, daemon=True)
        thread.start()
        thread.join(wait_s)

    def shutdown(self) -> None:
        """Sends the remaining data and stops within SHUTDOWN_S seconds; retries to a dead endpoint are cut off.

        The reader's running thread sends the last metrics, because Python 3.12 starts no new thread at exit.
        """
        deadline = monotonic() + SHUTDOWN_S
        spans = None if self.tracers is None else Thread(target=self.tracers.shutdown, daemon=True)
        if spans is not None:
            spans.start()
        if self._logs is not None:
            self._logs.stop()
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
        exporters = [self._exporters.metrics(kind) for kind in self._exporters.kinds("METRICS")]
        readers += [ExportReader(each, self._producer, self._exporters.interval_ms) for each in exporters]
        meters = MeterProvider(readers, resource, exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False)
        self._producer.register(meters.get_meter("sightline"))
        if self._workers or not self._is_guest:
            # Imported here because a guest does not measure the process, and needs no psutil.
            from sightline_telemetry.export.processes import PROCESS_INSTRUMENTS, Processes

            processes = Processes(self._workers)
            for instrument in PROCESS_INSTRUMENTS:
                observe(meters.get_meter("sightline"), instrument, partial(processes.read, instrument))
        return meters

    def _resolves(self, trace_id: int) -> bool:
        return self._exporters.exports("TRACES") or (self._ring is not None and self._ring.holds(trace_id))
