"""Clients of a deployment: the service's scrape, samples and exemplars of Prometheus, traces of Tempo or Jaeger."""

from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import httpx2 as httpx
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
_EXPORTS = "otel_sdk_exporter_operation_duration_seconds_count"
_UNDER_WAY = "otel_sdk_exporter_metric_data_point_inflight"
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class StoredExemplar:
    """Holds an exemplar as Prometheus stores it; labels are those of its series."""

    labels: Mapping[str, str]
    trace_id: str
    value: float
    timestamp_s: float


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """Holds a span as the trace store returns it; ids in hex, times in Unix nanoseconds.

    kind: INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER; status: UNSET, OK or ERROR.
    """

    name: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str]
    kind: str
    status: str


@dataclass(frozen=True, slots=True)
class Export:
    """Describes how an export ended: the address it went to, and why it failed ("" if it did not)."""

    address: str
    failure: str


def scrape(client: httpx.Client) -> list[Metric]:
    """Returns all metrics of the service's `/metrics`, with their exemplars."""
    text = client.get("/metrics", headers=OPENMETRICS).raise_for_status().text
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def scraped_samples(client: httpx.Client) -> list[Sample]:
    """Returns all samples of the service's `/metrics`."""
    return [sample for family in scrape(client) for sample in family.samples]


def instance(client: httpx.Client) -> str:
    """Returns the service.instance.id of the process that answers: the worker to which this connection leads.

    Raises ValueError where `/metrics` names no process, which is so for other programs.
    """
    for sample in scraped_samples(client):
        if sample.name == "target_info" and "service_instance_id" in sample.labels:
            return sample.labels["service_instance_id"]
    raise ValueError("/metrics has no target_info with a service_instance_id")


def exports(client: httpx.Client, signal: str) -> Counter[Export]:
    """Returns how often a process exported a signal, `metric` or `span`, since it started, and how that ended.

    Read from the duration of the SDK's exports: its count of exported points takes a refusal for a success.
    """
    ended: Counter[Export] = Counter()
    for sample in scraped_samples(client):
        labels = sample.labels
        if sample.name == _EXPORTS and labels["otel_component_type"].endswith(f"_{signal}_exporter"):
            status = labels.get("http_response_status_code", "")
            failure = f"HTTP {status}" if status else labels.get("error_type", "")
            ended[Export(_address(labels), failure)] += int(sample.value)
    return ended


def export_under_way(client: httpx.Client) -> str | None:
    """Returns the address to which metrics are being exported at this moment: for long, if nothing answers there."""
    under_way = (sample for sample in scraped_samples(client) if sample.name == _UNDER_WAY and sample.value)
    return next((_address(sample.labels) for sample in under_way), None)


def _address(labels: Mapping[str, str]) -> str:
    return f"{labels.get('server_address', '')}:{labels.get('server_port', '')}"


class _Client:
    """Calls one server, and closes its connections at the end of a `with`."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


class Prometheus(_Client):
    """A client of the HTTP API of Prometheus, which VictoriaMetrics, Mimir and Thanos have too."""

    def query(self, promql: str) -> list[Sample]:
        """Returns the result of an instant query: one sample per series."""
        data = self._get("/api/v1/query", query=promql)
        return [Sample(promql, series["metric"], float(series["value"][1])) for series in data["result"]]

    def value(self, promql: str) -> float:
        """Returns the one value of a query; nan if there is none yet."""
        samples = self.query(promql)
        return samples[0].value if len(samples) == 1 else float("nan")

    def exemplars(self, selector: str, start_s: float, end_s: float) -> list[StoredExemplar]:
        """Returns the exemplars of the series that match, between two Unix times."""
        data = self._get("/api/v1/query_exemplars", query=selector, start=start_s, end=end_s)
        return [
            StoredExemplar(series["seriesLabels"], e["labels"]["trace_id"], float(e["value"]), float(e["timestamp"]))
            for series in data
            for e in series["exemplars"]
        ]

    def flags(self) -> dict[str, str]:
        """Returns the command line that Prometheus runs with; empty if the server does not publish it."""
        response = self._client.get("/api/v1/status/flags")
        flags: dict[str, str] = response.json()["data"] if response.is_success else {}
        return flags

    def is_victoria_metrics(self) -> bool:
        """Returns True for VictoriaMetrics, which stores no exemplars."""
        response = self._client.get("/metrics")
        return response.is_success and "vm_app_version" in response.text

    def _get(self, path: str, **parameters: Any) -> Any:
        return self._client.get(path, params=parameters).raise_for_status().json()["data"]


class TraceStore(_Client):
    """Reads traces by id from Tempo (`/api/v2/traces`) or Jaeger (`/api/v3/traces`), both as OTLP/JSON."""

    @cached_property
    def is_tempo(self) -> bool:
        """Returns True for Tempo, which alone answers an echo; Jaeger answers an unknown path with its pages."""
        return self._client.get("/api/echo").text.strip() == "echo"

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """Returns the spans of a trace, each once even if retries stored it twice; [] if the trace is not stored."""
        path = "/api/v2/traces" if self.is_tempo else "/api/v3/traces"
        response = self._client.get(f"{path}/{trace_id}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return []
        body = response.raise_for_status().json()
        spans = read_spans(body.get("trace") or body.get("result") or {})
        return list({span.span_id: span for span in spans}.values())  # Tempo merges them only when it compacts


def _hex_id(text: str) -> str:
    """Returns a span id in hex, which Jaeger writes in hex and Tempo in base64.

    >>> _hex_id("00f067aa0ba902b7"), _hex_id("APBnqgupArc="), _hex_id("")
    ('00f067aa0ba902b7', '00f067aa0ba902b7', '')
    """
    return b64decode(text).hex() if text.endswith("=") else text


def _enum_name(value: int | str, names: tuple[str, ...]) -> str:
    """Returns the name of an OTLP enumeration, which Jaeger writes as its number and Tempo as its full name.

    >>> _enum_name(2, STATUSES), _enum_name("STATUS_CODE_ERROR", STATUSES)
    ('ERROR', 'ERROR')
    """
    return names[value] if isinstance(value, int) else value.rpartition("_")[2]


def read_spans(traces: Mapping[str, Any]) -> list[StoredSpan]:
    """Returns the spans of an OTLP/JSON `TracesData`."""
    return [
        _span(span)
        for resource in traces.get("resourceSpans", ())
        for scope in resource.get("scopeSpans", ())
        for span in scope.get("spans", ())  # Jaeger keeps a scope whose spans were duplicates, without spans
    ]


def _span(span: Mapping[str, Any]) -> StoredSpan:
    return StoredSpan(
        name=span["name"],
        span_id=_hex_id(span["spanId"]),
        parent_id=_hex_id(span.get("parentSpanId", "")),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes={a["key"]: str(next(iter(a["value"].values()))) for a in span.get("attributes", ())},
        kind=_enum_name(span.get("kind", 0), KINDS),
        status=_enum_name(span.get("status", {}).get("code", 0), STATUSES),
    )
