"""What measures one process: nothing, Sightline with its tail sampling, or OpenTelemetry's FastAPIInstrumentor.

`build_telemetry` chooses once, by the environment and the settings; the rest of the service does not ask again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fastapi import FastAPI

from sightline_service.settings import Settings
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.sdk import Providers, is_disabled
from sightline_telemetry.export.trace_ring import TraceRing
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.quality import Quality
from sightline_telemetry.model.recorder import PredictionRecorder, Recorder, Rows, joined
from sightline_telemetry.requests.fastapi_instrumentor import ContribTracing, ExternalSpanMiddleware, HeadSampler
from sightline_telemetry.requests.golden_signals import GoldenSignals
from sightline_telemetry.requests.logs import RequestLog
from sightline_telemetry.requests.middleware import IdsMiddleware, TelemetryMiddleware
from sightline_telemetry.requests.tail_sampling import Reason, SamplingRules, TailSampler

_FAULT_PLACES = ("middleware", "recorder", "reading", "ledger", "request_log")

Join = Callable[[Sequence[Any]], Rows]


class Telemetry(Protocol):
    """Measures the requests and the predictions of one process, and carries the counts out of it.

    Models, queues, labels and the app are added before `start`.
    faults: where faults of the telemetry end. ring: holds kept traces in memory, if the settings want one.
    """

    faults: Faults
    providers: Providers
    ring: TraceRing | None

    def count_model(
        self, model: ModelId, profile: ReferenceProfile, steps: tuple[str, ...], join: Join = joined
    ) -> PredictionRecorder:
        """Returns what counts the predictions of a model; see `Recorder`."""

    def watch_queue(self, model: ModelId, queued_rows: Callable[[], int]) -> None:
        """Shows how many rows wait for a model."""

    def watch_labels(self, quality: Callable[[], Quality | None]) -> None:
        """Shows the totals of labels; see `Producer.add_labels`."""

    def measure(self, app: FastAPI) -> None:
        """Measures the requests of an app, which has all its routes by now."""

    def start(self) -> None:
        """Starts exports, spans and the request log."""

    def stop(self) -> None:
        """Sends the counts, and stops."""


class _Uncounted:
    """Counts no prediction."""

    def record(self, *_: object, **__: object) -> None:
        """Does nothing."""

    batch = error = record


class Off:
    """Measures nothing. Requests have ids all the same, and `/metrics` answers without a series of ours."""

    def __init__(self, ring: TraceRing | None) -> None:
        self.faults = Faults(*_FAULT_PLACES)
        self.ring = ring
        self.providers = Providers(Producer(GoldenSignals(), [], TailSampler(), self.faults), ring)

    def count_model(self, *_: object, **__: object) -> PredictionRecorder:
        """Returns what counts nothing."""
        return _Uncounted()

    def watch_queue(self, *_: object, **__: object) -> None:
        """Does nothing."""

    watch_labels = watch_queue

    def measure(self, app: FastAPI) -> None:
        """Gives every request its ids."""
        app.add_middleware(IdsMiddleware)

    def start(self) -> None:
        """Starts the SDK, which is switched off, so that other instrumentations find its providers."""
        self.providers.start()

    def stop(self) -> None:
        """Stops the SDK."""
        self.providers.shutdown()


class _Measuring:
    """What both ways to make server spans share: the counts, and how they leave."""

    def __init__(
        self, settings: Settings, ring: TraceRing | None, sampler: TailSampler, *, is_head_sampled: bool
    ) -> None:
        self.faults = Faults(*_FAULT_PLACES)
        self.ring = ring
        self._signals = GoldenSignals()
        self._sampler = sampler
        self._producer = Producer(self._signals, [], sampler, self.faults)
        self.providers = Providers(self._producer, ring, is_head_sampled=is_head_sampled)
        self._log = RequestLog(self.faults) if settings.request_log else None

    def count_model(
        self, model: ModelId, profile: ReferenceProfile, steps: tuple[str, ...], join: Join = joined
    ) -> PredictionRecorder:
        recorder = Recorder(model, profile, steps, join)
        self._producer.add_model(recorder)
        return recorder

    def watch_queue(self, model: ModelId, queued_rows: Callable[[], int]) -> None:
        self._producer.add_queue(model, queued_rows)

    def watch_labels(self, quality: Callable[[], Quality | None]) -> None:
        self._producer.add_labels(quality)

    def start(self) -> None:
        self.providers.start()
        if self._log is not None:
            self._log.start()

    def stop(self) -> None:
        """Writes the last lines of the log, and sends the last counts and spans."""
        if self._log is not None:
            self._log.stop()
        self.providers.shutdown()

    def _measure(self, app: FastAPI, middleware: type[TelemetryMiddleware]) -> None:
        app.add_middleware(
            middleware,
            signals=self._signals,
            sampler=self._sampler,
            writer=self.providers if self.providers.keeps_traces else None,
            faults=self.faults,
            log=self._log,
        )
        # Every documented answer of every route has its series at 0 before the first request.
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                self._signals.expect(method.upper(), path, [int(status) for status in operation["responses"]])


class TailSampled(_Measuring):
    """Makes the server spans itself, and decides about each trace when its request has ended."""

    def __init__(self, settings: Settings, ring: TraceRing | None) -> None:
        allowances = {
            Reason.ASKED: settings.traces_asked_per_s,
            Reason.FAILED: settings.traces_failed_per_s,
            Reason.SLOW: settings.traces_slow_per_s,
            Reason.EXEMPLAR: settings.traces_exemplar_per_s,
        }
        rules = SamplingRules(slow_s=settings.slow_s, share=settings.trace_share, allowances=allowances)
        super().__init__(settings, ring, TailSampler(rules), is_head_sampled=False)

    def measure(self, app: FastAPI) -> None:
        """Puts the telemetry around the app."""
        self._measure(app, TelemetryMiddleware)


class Contrib(_Measuring):
    """Leaves the server spans to OpenTelemetry's FastAPIInstrumentor, and sampling at their start to the SDK."""

    def __init__(self, settings: Settings, ring: TraceRing | None) -> None:
        super().__init__(settings, ring, HeadSampler(), is_head_sampled=True)
        self._tracing: ContribTracing | None = None

    def measure(self, app: FastAPI) -> None:
        """Puts the telemetry around the app; `start` puts the instrumentation around both."""
        self._measure(app, ExternalSpanMiddleware)
        self._tracing = ContribTracing(app)

    def start(self) -> None:
        """Starts the instrumentation too."""
        super().start()
        if self._tracing is not None and self.providers.tracers is not None:
            self._tracing.start(self.providers.tracers)

    def stop(self) -> None:
        """Stops the instrumentation first."""
        if self._tracing is not None:
            self._tracing.stop()
        super().stop()


def build_telemetry(settings: Settings) -> Telemetry:
    """Returns what measures this process: `Off` with OTEL_SDK_DISABLED=true, otherwise as http_tracing says."""
    ring = TraceRing() if settings.trace_ring else None
    if is_disabled():
        return Off(ring)
    return Contrib(settings, ring) if settings.http_tracing == "contrib" else TailSampled(settings, ring)
