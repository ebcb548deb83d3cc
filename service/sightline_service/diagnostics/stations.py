"""The stations that `sightline doctor` visits: it sends one marked request and looks for it at each of them.

The mark is the request's trace id: the caller sets the sampled flag, so the trace is kept and becomes an exemplar.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from math import isnan
from time import monotonic, sleep, time
from typing import TypeVar

import httpx2 as httpx

from sightline_service.diagnostics import clients
from sightline_service.diagnostics.clients import Export, Prometheus, StoredExemplar, TraceStore
from sightline_service.diagnostics.credentials import NONE, Credentials
from sightline_service.diagnostics.doctor import BrokenError, Component, Found, Station, StationResult, examine
from sightline_telemetry.instruments import PREDICTIONS, REQUEST_DURATION
from sightline_telemetry.requests.timeline import Timeline

ROUTE = "/predict/model"
CLOCK_S = 30.0
"""Clocks further apart than this lose data: Prometheus refuses what is too old or too far ahead."""

_LOOK_EVERY_S = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MarkedRequest:
    """The request that is followed: at first only its ids, and once it is answered what was known before it."""

    caller: Timeline = field(default_factory=Timeline)
    model: str = ""
    instance: str = ""
    """The process that answered, by its service.instance.id."""
    sent_s: float = 0.0
    clock_s: float = 0.0
    """The service's clock minus ours."""
    rows_before: float = 0.0
    exports_before: Counter[Export] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Holds what each check works with: clients of the deployment, and the marked request.

    patience_s: how long each station may take.
    """

    addresses: dict[Component, str]
    service: httpx.Client
    prometheus: Prometheus
    traces: TraceStore
    patience_s: float
    request: MarkedRequest = field(default_factory=MarkedRequest)

    def wait_for(self, look: Callable[[], T | None]) -> T | None:
        """Returns the first answer that is not empty; None when the patience is over."""
        until = monotonic() + self.patience_s
        while True:
            if found := look():
                return found
            if monotonic() > until:
                return None
            sleep(_LOOK_EVERY_S)


def examine_deployment(
    service_url: str, prometheus_url: str, traces_url: str, patience_s: float, credentials: Credentials = NONE
) -> Iterator[StationResult]:
    """Follows one request through the deployment at these addresses, from outside.

    credentials: for the service; the other parts get none of them.
    """
    addresses: dict[Component, str] = {
        "service": service_url,
        "Prometheus": prometheus_url,
        "trace store": traces_url,
    }
    with (
        httpx.Client(base_url=service_url, timeout=10, **credentials.client_options()) as service,
        Prometheus(prometheus_url) as prometheus,
        TraceStore(traces_url) as traces,
    ):
        deployment = Deployment(addresses, service, prometheus, traces, patience_s)
        stations = (replace(each, expected=each.expected.format(patience_s=patience_s)) for each in STATIONS)
        yield from examine(stations, deployment, addresses)


def check_service(deployment: Deployment) -> Found[Deployment]:
    """The service is ready, and answers its own example under the trace id that it was sent."""
    service = deployment.service
    ready = service.get("/readyz")
    if ready.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise BrokenError("it answers, and is not ready", "it is starting or stopping; try again, or read its log")
    document = service.get("/openapi.json")
    if document.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        cause = "the service asks for a key with the scopes `predict` and `read`: name its file by --key-file"
        raise BrokenError(f"HTTP {document.status_code}: {document.json().get('detail')}", cause)
    schemas = document.raise_for_status().json()["components"]["schemas"]
    process = clients.instance(service)
    rows_before, exports_before = _rows_before(deployment.prometheus, process), clients.exports(service, "metric")
    caller, sent_s = deployment.request.caller, time()
    headers = {"traceparent": f"00-{caller.trace_id_hex}-{caller.span_id:016x}-01"}
    response = service.post(ROUTE, json=schemas["PredictIn"]["example"], headers=headers)
    answer = response.json()
    if response.status_code != httpx.codes.OK:
        raise BrokenError(
            f"HTTP {response.status_code} for its own example: {answer.get('detail')}",
            f"the model or the service fails; its log says more under the trace id {answer.get('trace_id')}",
        )
    if answer["trace_id"] != caller.trace_id_hex:
        cause = "a proxy in between rewrites or drops the header traceparent; let it through"
        raise BrokenError(f"the trace id is {answer['trace_id']}, sent was {caller.trace_id_hex}", cause)
    model = answer["model"]
    text = f"{model['name']} {model['version']} answered in {response.elapsed.total_seconds() * 1000:.0f} ms"
    clock_s = _clock_s(response) - time()
    request = MarkedRequest(caller, model["name"], process, sent_s, clock_s, rows_before, exports_before)
    return Found(f"{text}; its trace is {answer['trace_id']}", replace(deployment, request=request))


def check_clocks(deployment: Deployment) -> Found[Deployment]:
    """No two clocks of the deployment, or this machine's, are far apart."""
    clocks: dict[Component, float] = {"service": deployment.request.clock_s}
    others: tuple[Component, ...] = ("Prometheus", "trace store")
    for component in others:
        try:
            clocks[component] = _clock_s(httpx.get(deployment.addresses[component], timeout=5)) - time()
        except httpx.TransportError:  # the component's own station reports it
            continue
    text = "against this machine: " + ", ".join(f"{name} {seconds:+.0f} s" for name, seconds in clocks.items())
    if max(*clocks.values(), 0.0) - min(*clocks.values(), 0.0) > CLOCK_S:
        name, seconds = max(clocks.items(), key=lambda clock: abs(clock[1]))
        cause = f"the clock of the {name} is {abs(seconds):,.0f} s {'ahead' if seconds > 0 else 'behind'}; run NTP"
        if len(clocks) > 1 and min(abs(clock) for clock in clocks.values()) > CLOCK_S:
            cause = "this machine's own clock is off; run NTP"
        raise BrokenError(text, cause)
    return Found(text)


def check_collector(deployment: Deployment) -> Found[Deployment]:
    """An export of metrics since the request was taken by the collector."""
    service = deployment.service
    new = deployment.wait_for(lambda: clients.exports(service, "metric") - deployment.request.exports_before)
    if new is None and (address := clients.export_under_way(service)) is not None:
        raise _failed_export(Export(address, "no answer so far"))
    if new is None:
        cause = (
            "OTEL_EXPORTER_OTLP_ENDPOINT is not set for the service, so nothing leaves it; or its SDK does not "
            "count its exports (OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=false)"
        )
        raise BrokenError("no export of metrics was tried", cause)
    taken = next((export for export in new if not export.failure), None)
    if taken is None:
        raise _failed_export(next(iter(new)))
    return Found(f"an export to {taken.address} was taken")


def check_metrics(deployment: Deployment) -> Found[Deployment]:
    """The counter of predicted rows has grown in Prometheus since before the request."""
    request = deployment.request
    counter = f"{PREDICTIONS.prometheus_name} of {request.model}"

    def grown_rows() -> float | None:
        rows = _rows(deployment.prometheus, request.instance)
        return rows if rows > request.rows_before else None

    rows = deployment.wait_for(grown_rows)
    if rows is not None:
        return Found(f"{counter}: {request.rows_before:g} -> {rows:g} rows")
    text = f"{counter} stays at {request.rows_before:g} rows"
    if deployment.prometheus.flags().get("web.enable-otlp-receiver") == "false":
        raise BrokenError(text, "Prometheus takes no OTLP: start it with --web.enable-otlp-receiver")
    cause = (
        "the collector took the counts and did not deliver them here: look for `Exporting failed` in its log, and "
        f"for the endpoint in its backends/*.yaml: does it lead to {deployment.addresses['Prometheus']}?"
    )
    raise BrokenError(text, cause)


def check_traces(deployment: Deployment) -> Found[Deployment]:
    """The trace store returns the trace of the request."""
    spans = deployment.wait_for(lambda: deployment.traces.trace(deployment.request.caller.trace_id_hex))
    if spans is not None:
        spans.sort(key=lambda span: (span.start_ns, -span.end_ns))
        return Found(f"{len(spans)} spans: {', '.join(span.name for span in spans)}")
    for export in clients.exports(deployment.service, "span"):
        if export.failure:
            raise _failed_export(export)
    cause = (
        f"the collector does not deliver traces to {deployment.addresses['trace store']}: look for `Exporting failed` "
        "in its log, and for the endpoint in its backends/*.yaml; or SIGHTLINE_TRACES_ASKED_PER_S was used up"
    )
    raise BrokenError("the trace is not there", cause)


def check_exemplar(deployment: Deployment) -> Found[Deployment]:
    """An exemplar of the latency, recorded since the request, carries the id of a stored trace."""
    own_trace_id, prometheus = deployment.request.caller.trace_id_hex, deployment.prometheus
    exemplar = deployment.wait_for(lambda: _joined_exemplar(deployment))
    if exemplar is not None:
        whose = "our own" if exemplar.trace_id == own_trace_id else "another request's"
        return Found(f"an exemplar at {exemplar.value * 1000:.1f} ms leads to the trace {exemplar.trace_id}, {whose}")
    if prometheus.is_victoria_metrics():
        return Found("none, as VictoriaMetrics stores no exemplars; search the trace store by duration instead")
    if "exemplar-storage" not in prometheus.flags().get("enable-feature", "exemplar-storage"):
        cause = "Prometheus stores none: start it with --enable-feature=exemplar-storage"
        raise BrokenError("no exemplar", cause)
    cause = (
        "something between the service and Prometheus drops exemplars: the collector's `prometheus` exporter does, "
        "the OTLP receiver (backends/prometheus.yaml) does not"
    )
    raise BrokenError("no exemplar that leads to a stored trace", cause)


_WITHIN = "within {patience_s:g} s"

STATIONS: tuple[Station[Deployment], ...] = (
    Station("service", "it is ready and answers its own example", "service", check_service),
    Station("clocks", f"no two are {CLOCK_S:g} s apart", "Prometheus", check_clocks),
    Station("collector", f"it takes an export of the service {_WITHIN}", "service", check_collector),
    Station("metrics", f"the counter of rows grows in the backend {_WITHIN}", "Prometheus", check_metrics),
    Station("traces", f"the store has the trace {_WITHIN}", "trace store", check_traces),
    Station("exemplar", f"a latency bucket leads to a stored trace {_WITHIN}", "Prometheus", check_exemplar),
)
"""In the order in which data flows. `expected` is a format string of patience_s."""


def _rows(prometheus: Prometheus, process: str) -> float:
    """Returns the rows of one process in the metrics backend, which calls it by one label or the other; nan if none."""
    by = (f'{PREDICTIONS.prometheus_name}{{{label}="{process}"}}' for label in ("service_instance_id", "instance"))
    return prometheus.value(f"sum({' or '.join(by)})")


def _rows_before(prometheus: Prometheus, process: str) -> float:
    try:
        rows = _rows(prometheus, process)
    except (httpx.HTTPError, ValueError, LookupError, TypeError):  # the station `metrics` will report it
        return 0.0
    return 0.0 if isnan(rows) else rows


def _joined_exemplar(deployment: Deployment) -> StoredExemplar | None:
    """Returns an exemplar since the request whose trace is stored; the request's own if there is one."""
    request = deployment.request
    selector = f'{REQUEST_DURATION.prometheus_name}_bucket{{http_route="{ROUTE}"}}'
    exemplars = deployment.prometheus.exemplars(selector, request.sent_s - 1, time() + 1)
    exemplars.sort(key=lambda exemplar: exemplar.trace_id != request.caller.trace_id_hex)
    return next((exemplar for exemplar in exemplars if deployment.traces.trace(exemplar.trace_id)), None)


def _failed_export(export: Export) -> BrokenError:
    """Returns the error of an export that failed, with the likely cause at its other end."""
    cause = f"no collector listens at {export.address}: start it, or correct the service's OTEL_EXPORTER_OTLP_ENDPOINT"
    if export.failure.startswith("HTTP "):
        cause = (
            f"what listens at {export.address} does not take OTLP over HTTP, as a collector does at port 4318: correct "
            "the service's OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    return BrokenError(f"an export to {export.address} failed: {export.failure}", cause)


def _clock_s(response: httpx.Response) -> float:
    """Returns the server's clock in Unix seconds, to the second, from its Date header; ours if there is none."""
    date = response.headers.get("date")
    return parsedate_to_datetime(date).timestamp() + 0.5 if date else time()
