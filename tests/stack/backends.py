"""What the backends answer: samples and exemplars of Prometheus, traces of Tempo or Jaeger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx2 as httpx


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
    """A span as the trace store returns it; times are Unix nanoseconds."""

    name: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str]


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
            for span in scope["spans"]
        ]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self._client.close()


def _span(span: Mapping[str, Any]) -> StoredSpan:
    return StoredSpan(
        name=span["name"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes={a["key"]: str(next(iter(a["value"].values()))) for a in span.get("attributes", ())},
    )
