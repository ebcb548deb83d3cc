"""What measures one process: nothing, Sightline with its tail sampling, or OpenTelemetry's FastAPIInstrumentor.

`build_telemetry` chooses once, by the environment and the settings; the rest of the service does not ask again.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.routing import BaseRoute

from sightline_service.errors import SettingsError
from sightline_service.observation import InProcess, OnBoard
from sightline_service.settings import Settings
from sightline_telemetry.access.key_file import MAX_NAMED_CLIENTS
from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.layout import REFUSED, body_event
from sightline_telemetry.events.seats import N_ACTIVE, N_QUEUES
from sightline_telemetry.events.slots import SlotTable
from sightline_telemetry.export.exporters import is_disabled
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.reading import Reading
from sightline_telemetry.export.sdk import Providers
from sightline_telemetry.export.variables import advice
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.in_process import InProcessObserver
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.observer.observer import ObserverOptions
from sightline_telemetry.requests.allowance import AskedSampler
from sightline_telemetry.requests.fastapi_instrumentor import ContribTracing, ExternalSpanMiddleware
from sightline_telemetry.requests.ids import IdsMiddleware
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.recording import EventSink, Words
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.tail_sampling import Reason, SamplingRules

_log = logging.getLogger(__name__)

_PROBE = re.compile(r"/livez|/readyz|/metrics|/v2/health/.*|.*/ready|/v1/models/[^:]*")
"""Routes of health checks, KServe's among them, and of scrapes."""

FAULT_PLACES = ("middleware", "recording", "ledger", "feedback_key", "request_log")


class Telemetry(Protocol):
    """Measures the requests and the predictions of one process.

    Models and the app are added before `start`.
    faults: where faults of the telemetry end. sink: takes the events of the process. has_ring: kept traces are held.
    """

    faults: Faults
    sink: EventSink
    has_ring: bool

    def add_model(self, model: DescribedModel) -> int | None:
        """Returns the number under which events name a model; None if nothing is counted."""

    def measure(self, app: FastAPI) -> None:
        """Measures the requests of an app, which has all its routes by now."""

    def refused(self, reason: str) -> None:
        """Counts a connection that the server ended, by one of REFUSED_REASONS; belongs to the event loop's thread."""

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns the body of `/metrics` and its content type, for an `Accept` header."""

    async def read_trace(self, trace_id: int) -> dict[str, Any] | None:
        """Returns a kept trace as OTLP/JSON; None if it is not held."""

    def start(self) -> None:
        """Starts exports, spans and the request log."""

    def stop(self) -> None:
        """Sends the counts, and stops."""


class Off:
    """Measures nothing. Requests have ids all the same, and `/metrics` answers without a series of ours."""

    def __init__(self, settings: Settings) -> None:
        self.sink: EventSink = _Discard()
        self.faults = Faults(self.sink.write_aside)
        self.has_ring = settings.trace_ring
        table = SeriesTable(Description(()))
        reading = Reading(Counts.zero(table), ())
        self._providers = Providers(Producer(table, lambda: reading, self.faults))

    def add_model(self, model: DescribedModel) -> None:
        """Counts nothing."""

    def measure(self, app: FastAPI) -> None:
        """Gives every request its ids."""
        app.add_middleware(IdsMiddleware)

    def refused(self, reason: str) -> None:
        """Counts nothing."""

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns what the SDK has, which is nothing."""
        return self._providers.scrape.render(accept)

    async def read_trace(self, trace_id: int) -> None:
        """Returns None: no trace is kept."""

    def start(self) -> None:
        """Starts the SDK, which is switched off, so that other instrumentations find its providers."""
        self._providers.start()

    def stop(self) -> None:
        """Stops the SDK."""
        self._providers.shutdown()


class _Discard:
    """Takes events, and keeps none."""

    def __init__(self) -> None:
        self.active: Words = [0] * N_ACTIVE
        self.queued: Words = [0] * N_QUEUES
        self.slots: SlotTable | None = None

    def write(self, event: bytes) -> None:
        """Forgets an event."""

    def write_aside(self, event: bytes) -> None:
        """Forgets an event."""


class _Measuring:
    """What both ways to make server spans share: one event per request, and what observes them."""

    def __init__(
        self,
        settings: Settings,
        observation: InProcess | OnBoard,
        clients: Sequence[str],
        *,
        is_head_sampled: bool,
    ) -> None:
        self._observation = observation
        self.sink: EventSink = observation.sink
        self.faults = Faults(self.sink.write_aside)
        self.has_ring = settings.trace_ring
        allowances = {
            Reason.ASKED: settings.traces_asked_per_s,
            Reason.FAILED: settings.traces_failed_per_s,
            Reason.SLOW: settings.traces_slow_per_s,
            Reason.EXEMPLAR: settings.traces_exemplar_per_s,
        }
        rules = SamplingRules(slow_s=settings.slow_s, share=settings.trace_share, allowances=allowances)
        self._options = ObserverOptions(
            rules,
            settings.trace_ring,
            settings.request_log,
            is_head_sampled,
            standstill_s=settings.standstill_s,
            ends_standstill=settings.end_standstill,
            api_keys=_path_of(settings.api_keys),
            tls_cert=_path_of(settings.tls_cert),
            tls_key=_path_of(settings.tls_key),
            allowed_hosts=settings.allowed_hosts,
        )
        self._clients = tuple(clients[:MAX_NAMED_CLIENTS])
        self._asked = AskedSampler(settings.trace_share, observation.allowance(settings.traces_asked_per_s))
        self._models: list[DescribedModel] = []
        self.scrape = observation.scrape
        self.read_trace = observation.read_trace

    @property
    def process(self) -> InProcessObserver:
        """The observer in this process, for tests and for those who embed the app."""
        if not isinstance(self._observation, InProcess):
            raise TypeError("another process observes this one")
        return self._observation.process

    def add_model(self, model: DescribedModel) -> int:
        if len(self._models) == N_QUEUES:
            raise SettingsError(f"{model.id.name} is one model too many: a process serves {N_QUEUES} at most")
        self._models.append(model)
        return len(self._models) - 1

    def refused(self, reason: str) -> None:
        self.sink.write(body_event(REFUSED, reason.encode()))

    def start(self) -> None:
        self._observation.start()

    def stop(self) -> None:
        self._observation.stop()

    def _measure(self, app: FastAPI, middleware: type[TelemetryMiddleware]) -> None:
        description = replace(describe_app(app, self._models), clients=self._clients)
        keeps_traces = self._observation.describe(description, self._options, self.faults)
        app.add_middleware(
            middleware,
            sink=self.sink,
            routes=numbers_of_routes(description),
            asked=self._asked if keeps_traces else None,
            faults=self.faults,
        )


class TailSampled(_Measuring):
    """Makes the server spans itself; whether a trace is kept is decided when its request has ended."""

    def __init__(self, settings: Settings, observation: InProcess | OnBoard, clients: Sequence[str] = ()) -> None:
        super().__init__(settings, observation, clients, is_head_sampled=False)

    def measure(self, app: FastAPI) -> None:
        """Puts the telemetry around the app."""
        self._measure(app, TelemetryMiddleware)


class Contrib(_Measuring):
    """Leaves the server spans to OpenTelemetry's FastAPIInstrumentor, and sampling at their start to the SDK."""

    def __init__(self, settings: Settings, observation: InProcess | OnBoard, clients: Sequence[str] = ()) -> None:
        super().__init__(settings, observation, clients, is_head_sampled=True)
        self._tracing: ContribTracing | None = None

    def measure(self, app: FastAPI) -> None:
        """Puts the telemetry around the app; `start` puts the instrumentation around both."""
        self._measure(app, ExternalSpanMiddleware)
        self._tracing = ContribTracing(app)

    def start(self) -> None:
        """Starts the instrumentation too."""
        super().start()
        tracers = self._observation.tracers
        if self._tracing is not None and tracers is not None:
            self._tracing.start(tracers)

    def stop(self) -> None:
        """Stops the instrumentation first."""
        if self._tracing is not None:
            self._tracing.stop()
        super().stop()


def describe_app(app: FastAPI, models: list[DescribedModel]) -> Description:
    """Returns what is counted of an app: every documented answer of every route has its series from the start."""
    expected = [
        RequestKind(method.upper(), path, int(status))
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        for status in operation["responses"]
    ]
    # Routes of an included router stand in the schema alone.
    own = (path for route in app.router.routes if (path := _path(route)))
    routes = dict.fromkeys((*own, *(kind.route for kind in expected)))
    probes = tuple(route for route in routes if _PROBE.fullmatch(route))
    return Description(tuple(models), tuple(routes), tuple(expected), FAULT_PLACES, probes)


def _path_of(file: Path | None) -> str:
    return "" if file is None else str(file.resolve())


def numbers_of_routes(description: Description) -> dict[str, int]:
    """Returns the number of each route, by its template and by the paths of the models that are served.

    A request that begins is known by its path; the template is known when it is routed.
    """
    numbers = {route: number for number, route in enumerate(description.routes)}
    for route, number in tuple(numbers.items()):
        for model in description.models:
            path = route.replace("{name}", model.id.name).replace("{version}", model.id.version)
            numbers.setdefault(path, number)
    return numbers


def _path(route: BaseRoute) -> str:
    return str(getattr(route, "path", ""))


def build_telemetry(
    settings: Settings, inheritance: Inheritance | None = None, clients: Sequence[str] = ()
) -> Telemetry:
    """Returns what measures this process: `Off` with OTEL_SDK_DISABLED=true, otherwise as http_tracing says.

    inheritance: what the supervisor has given this worker; None if no observer process watches it.
    clients: the names of keys, of which the first 50 are counted by their names.
    """
    if is_disabled():
        return Off(settings)
    if inheritance is None:  # otherwise the command has said it
        for line in advice(os.environ, is_contrib=settings.http_tracing == "contrib"):
            _log.warning(line)
    observation = InProcess() if inheritance is None else OnBoard(inheritance)
    kind = Contrib if settings.http_tracing == "contrib" else TailSampled
    return kind(settings, observation, clients)
