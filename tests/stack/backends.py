"""What the backends answer: samples and exemplars of Prometheus, traces of Tempo or Jaeger."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx2 as httpx

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant query and its value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class StoredExemplar:
    """An exemplar as Prometheus stores it; labels are those of its series."""

    labels: Mapping[str, str]
    trace_id: str
    value: float
    timestamp_s: float


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """A span as the trace store returns it; ids in hex, times in Unix nanoseconds.

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


class Prometheus:
    """Asks Prometheus' HTTP API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def query(self, promql: str) -> list[Sample]:
        """The result of an instant query."""
        data = self._get("/api/v1/query", query=promql)
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]

    def value(self, promql: str) -> float:
        """The one value of a query; nan if there is none yet."""
        samples = self.query(promql)
        return samples[0].value if len(samples) == 1 else float("nan")

    def exemplars(self, selector: str, start_s: float, end_s: float) -> list[StoredExemplar]:
        """The exemplars of some series in a stretch of Unix time."""
        data = self._get("/api/v1/query_exemplars", query=selector, start=start_s, end=end_s)
        return [
            StoredExemplar(series["seriesLabels"], e["labels"]["trace_id"], float(e["value"]), float(e["timestamp"]))
            for series in data
            for e in series["exemplars"]
        ]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self._client.close()

    def _get(self, path: str, **parameters: Any) -> Any:
        return self._client.get(path, params=parameters).raise_for_status().json()["data"]


class TraceStore:
    """Reads traces by id from Tempo (`/api/v2/traces`) or Jaeger (`/api/v3/traces`), both as OTLP/JSON."""

    def __init__(self, url: str, *, is_tempo: bool) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)
        self._path = "/api/v2/traces" if is_tempo else "/api/v3/traces"

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """The spans of a trace; none if it is not stored."""
        response = self._client.get(f"{self._path}/{trace_id}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return []
        body = response.raise_for_status().json()
        traces = body.get("trace") or body.get("result") or {}
        return [
            _span(span)
            for resource in traces.get("resourceSpans", ())
            for scope in resource.get("scopeSpans", ())
            for span in scope.get("spans", ())  # Jaeger leaves a scope of duplicates standing, with no spans in it
        ]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self._client.close()


def _hex_id(text: str) -> str:
    """A span id, which Jaeger writes in hex and Tempo in base64.

    >>> _hex_id("00f067aa0ba902b7"), _hex_id("APBnqgupArc="), _hex_id("")
    ('00f067aa0ba902b7', '00f067aa0ba902b7', '')
    """
    return b64decode(text).hex() if text.endswith("=") else text


def _enum_name(value: int | str, names: tuple[str, ...]) -> str:
    """An OTLP enumeration, which Jaeger writes as its number and Tempo as its full name.

    >>> _enum_name(2, STATUSES), _enum_name("STATUS_CODE_ERROR", STATUSES)
    ('ERROR', 'ERROR')
    """
    return names[value] if isinstance(value, int) else value.rpartition("_")[2]


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
