"""`sightline doctor`: sends one marked request and looks for it at every station, up to the first that is broken.

The mark is the request's trace id: the caller asks for the trace, so it is kept, and becomes an exemplar.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isnan
from time import monotonic, sleep, time
from typing import TypeVar

import httpx2 as httpx
from rich.console import Console

from sightline_service.diagnostics.clients import (
    Export,
    Prometheus,
    StoredExemplar,
    TraceStore,
    export_under_way,
    exports,
    instance,
)
from sightline_telemetry.instruments import PREDICTIONS, REQUEST_DURATION
from sightline_telemetry.requests.timeline import Timeline

ROUTE = "/predict/model"
CLOCK_S = 30.0
"""Clocks further apart than this lose data: Prometheus refuses what is too old or too far ahead."""

_LOOK_EVERY_S = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was expected of a station and what was found; a station that is broken has a likely cause."""

    station: str
    expected: str
    found: str
    cause: str | None = None


class BrokenError(Exception):
    """A station does not do what it should; raised and caught within this module."""

    def __init__(self, found: str, cause: str) -> None:
        super().__init__(found)
        self.found = found
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Marked:
    """The request that is followed, and what was known before it was sent."""

    caller: Timeline
    model: str
    instance: str
    """The process that answered, by its service.instance.id."""
    sent_s: float
    clock_s: float
    """The service's clock minus ours."""
    rows_before: float
    exports_before: Counter[Export]


class Doctor:
    """Examines a deployment from outside, by its addresses. patience_s: how long each station may take."""

    def __init__(self, service_url: str, prometheus_url: str, traces_url: str, patience_s: float = 30.0) -> None:
        self._urls = {"service": service_url, "Prometheus": prometheus_url, "trace store": traces_url}
        self._service = httpx.Client(base_url=service_url, timeout=10)
        self._prometheus = Prometheus(prometheus_url)
        self._traces = TraceStore(traces_url)
        self._patience_s = patience_s

    def examine(self) -> Iterator[Finding]:
        """A finding for each station, in the order in which data flows; ends after the first that is broken."""
        with self._service, self._prometheus, self._traces:
            asked: list[Marked] = []

            def ask() -> str:
                marked, found = self._ask()
                asked.append(marked)
                return found

            finding = self._visit("service", "it is ready and answers its own example", "service", ask)
            yield finding
            if finding.cause is not None:
                return
            (marked,) = asked
            within = f"within {self._patience_s:g} s"
            stations: tuple[tuple[str, str, str, Callable[[Marked], str]], ...] = (
                ("clocks", f"no two are {CLOCK_S:g} s apart", "Prometheus", self._compare_clocks),
                ("collector", f"it takes an export of the service {within}", "service", self._find_export),
                ("metrics", f"the counter of rows grows in the backend {within}", "Prometheus", self._find_counter),
                ("traces", f"the store has the trace {within}", "trace store", self._find_trace),
                ("exemplar", f"a latency bucket leads to a stored trace {within}", "Prometheus", self._find_exemplar),
            )
            for station, expected, whom, look in stations:
                finding = self._visit(station, expected, whom, lambda look=look: look(marked))  # type: ignore[misc]
                yield finding
                if finding.cause is not None:
                    return

    def _visit(self, station: str, expected: str, whom: str, look: Callable[[], str]) -> Finding:
        url = self._urls[whom]
        try:
            return Finding(station, expected, look())
        except BrokenError as broken:
            return Finding(station, expected, broken.found, broken.cause)
        except httpx.TransportError as error:
            cause = f"nothing listens at {url}: start the {whom}, or correct its address"
            return Finding(station, expected, f"no answer from {url} ({error})", cause)
        except (httpx.HTTPStatusError, ValueError, KeyError) as error:
            cause = f"something else than the {whom} answers at {url}: correct its address"
            return Finding(station, expected, f"an odd answer from {url} ({error})", cause)

    def _ask(self) -> tuple[Marked, str]:
        ready = self._service.get("/readyz")
        if ready.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise BrokenError("it answers, and is not ready", "it is starting or stopping; ask again, or read its log")
        schemas = self._service.get("/openapi.json").raise_for_status().json()["components"]["schemas"]
        answering = instance(self._service)
        rows_before, exports_before = self._rows_before(answering), exports(self._service, "metric")
        caller, sent_s = Timeline(), time()
        headers = {"traceparent": f"00-{caller.trace_id_hex}-{caller.span_id:016x}-01"}
        response = self._service.post(ROUTE, json=schemas["PredictIn"]["example"], headers=headers)
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
        found = f"{model['name']} {model['version']} answered in {response.elapsed.total_seconds() * 1000:.0f} ms"
        clock_s = _clock_s(response) - time()
        marked = Marked(caller, model["name"], answering, sent_s, clock_s, rows_before, exports_before)
        return marked, f"{found}; its trace is {answer['trace_id']}"

    def _compare_clocks(self, marked: Marked) -> str:
        clocks = {"service": marked.clock_s}
        for name, url in self._urls.items():
            if name == "service":
                continue
            try:
                clocks[name] = _clock_s(httpx.get(url, timeout=5)) - time()
            except httpx.TransportError:  # its own station says so
                continue
        told = ", ".join(f"{name} {seconds:+.0f} s" for name, seconds in clocks.items())
        if max(*clocks.values(), 0.0) - min(*clocks.values(), 0.0) > CLOCK_S:
            name, seconds = max(clocks.items(), key=lambda clock: abs(clock[1]))
            cause = f"the clock of the {name} is {abs(seconds):,.0f} s {'ahead' if seconds > 0 else 'behind'}; run NTP"
            if len(clocks) > 1 and min(abs(clock) for clock in clocks.values()) > CLOCK_S:
                cause = "this machine's own clock is off; run NTP"
            raise BrokenError(f"against this machine: {told}", cause)
        return f"against this machine: {told}"

    def _find_export(self, marked: Marked) -> str:
        new = self._wait(lambda: exports(self._service, "metric") - marked.exports_before)
        if new is None and (address := export_under_way(self._service)) is not None:
            raise _failed_export(Export(address, "no answer so far"))
        if new is None:
            cause = (
                "OTEL_EXPORTER_OTLP_ENDPOINT is not set for the service, so nothing leaves it; or its SDK does not "
                "count its exports (OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=false)"
            )
            raise BrokenError("no export of metrics was tried", cause)
        if any(not export.failure for export in new):
            return f"an export to {next(export.address for export in new if not export.failure)} was taken"
        raise _failed_export(next(iter(new)))

    def _find_counter(self, marked: Marked) -> str:
        rows = self._wait(lambda: self._rows_above(marked))
        if rows is not None:
            return f"{PREDICTIONS.prometheus_name} of {marked.model}: {marked.rows_before:g} -> {rows:g} rows"
        found = f"{PREDICTIONS.prometheus_name} of {marked.model} stays at {marked.rows_before:g} rows"
        if self._prometheus.flags().get("web.enable-otlp-receiver") == "false":
            raise BrokenError(found, "Prometheus takes no OTLP: start it with --web.enable-otlp-receiver")
        cause = (
            "the collector took the counts and did not deliver them here: look for `Exporting failed` in its log, and "
            f"for the endpoint in its backends/*.yaml: does it lead to {self._urls['Prometheus']}?"
        )
        raise BrokenError(found, cause)

    def _find_trace(self, marked: Marked) -> str:
        spans = self._wait(lambda: self._traces.trace(marked.caller.trace_id_hex))
        if spans is not None:
            spans.sort(key=lambda span: (span.start_ns, -span.end_ns))
            return f"{len(spans)} spans: {', '.join(span.name for span in spans)}"
        for export in exports(self._service, "span"):
            if export.failure:
                raise _failed_export(export)
        cause = (
            f"the collector does not deliver traces to {self._urls['trace store']}: look for `Exporting failed` in its "
            "log, and for the endpoint in its backends/*.yaml; or SIGHTLINE_TRACES_ASKED_PER_S was used up"
        )
        raise BrokenError("the trace is not there", cause)

    def _find_exemplar(self, marked: Marked) -> str:
        exemplar = self._wait(lambda: self._joining(marked))
        if exemplar is not None:
            whose = "our own" if exemplar.trace_id == marked.caller.trace_id_hex else "another request's"
            return f"a dot at {exemplar.value * 1000:.1f} ms leads to the trace {exemplar.trace_id}, {whose}"
        if self._prometheus.is_victoria_metrics():
            return "none, as VictoriaMetrics stores no exemplars; search the trace store by duration instead"
        if "exemplar-storage" not in self._prometheus.flags().get("enable-feature", "exemplar-storage"):
            cause = "Prometheus stores none: start it with --enable-feature=exemplar-storage"
            raise BrokenError("no exemplar", cause)
        cause = (
            "something between the service and Prometheus drops exemplars: the collector's `prometheus` exporter does, "
            "the OTLP receiver (backends/prometheus.yaml) does not"
        )
        raise BrokenError("no exemplar that leads to a stored trace", cause)

    def _rows(self, process: str) -> float:
        """The rows of one process in the metrics backend, which calls it by one label or the other; nan if none."""
        by = (f'{PREDICTIONS.prometheus_name}{{{label}="{process}"}}' for label in ("service_instance_id", "instance"))
        return self._prometheus.value(f"sum({' or '.join(by)})")

    def _rows_before(self, process: str) -> float:
        try:
            rows = self._rows(process)
        except (httpx.HTTPError, ValueError, KeyError):  # its own station will say so
            return 0.0
        return 0.0 if isnan(rows) else rows

    def _rows_above(self, marked: Marked) -> float | None:
        rows = self._rows(marked.instance)
        return rows if rows > marked.rows_before else None

    def _joining(self, marked: Marked) -> StoredExemplar | None:
        """An exemplar since the request, our own if there is one, whose trace is stored."""
        selector = f'{REQUEST_DURATION.prometheus_name}_bucket{{http_route="{ROUTE}"}}'
        exemplars = self._prometheus.exemplars(selector, marked.sent_s - 1, time() + 1)
        exemplars.sort(key=lambda exemplar: exemplar.trace_id != marked.caller.trace_id_hex)
        return next((exemplar for exemplar in exemplars if self._traces.trace(exemplar.trace_id)), None)

    def _wait(self, look: Callable[[], T | None]) -> T | None:
        """The first answer that is not empty; None when the patience is over."""
        until = monotonic() + self._patience_s
        while True:
            if found := look():
                return found
            if monotonic() > until:
                return None
            sleep(_LOOK_EVERY_S)


def report(findings: Iterator[Finding], console: Console) -> bool:
    """Prints a line a station as it is visited; True if none is broken."""
    is_well = True
    for finding in findings:
        is_well = finding.cause is None
        mark, style = ("✓", "green") if is_well else ("✗", "red")
        console.print(f"[{style}]{mark} {finding.station:9}[/] ", end="")
        console.print(
            f"expected: {finding.expected}; found: {finding.found}", highlight=False, markup=False, soft_wrap=True
        )
        if finding.cause is not None:
            console.print(f"            likely cause: {finding.cause}", highlight=False, markup=False, soft_wrap=True)
    return is_well


def _failed_export(export: Export) -> BrokenError:
    """What a failed export tells of the other end."""
    cause = f"no collector listens at {export.address}: start it, or correct the service's OTEL_EXPORTER_OTLP_ENDPOINT"
    if export.failure.startswith("HTTP "):
        cause = (
            f"what listens at {export.address} does not take OTLP over HTTP, as a collector does at port 4318: correct "
            "the service's OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    return BrokenError(f"an export to {export.address} failed: {export.failure}", cause)


def _clock_s(response: httpx.Response) -> float:
    """The server's clock in Unix seconds, as its Date header tells it to the second; ours if it tells none."""
    date = response.headers.get("date")
    return parsedate_to_datetime(date).timestamp() + 0.5 if date else time()
