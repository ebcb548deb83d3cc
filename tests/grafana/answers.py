"""What a running Prometheus and a running Tempo answer to the dashboards' queries."""

import time
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import httpx2 as httpx

from grafana.queries import DashboardQuery, as_json, queries
from grafana.write import DASHBOARDS
from sightline_service.diagnostics.clients import Prometheus

VALUES: Mapping[str, str] = {
    "__rate_interval": "20s",
    "__interval": "5s",
    "__range": "5m",
    "model": "flights",
    "version": ".+",
    "service": "sightline",
    "slower_than": "5ms",
    "outcome": "late",
    "labels_of": "5m",
    "feature": "dest|temp",
}
"""What Grafana would put in place of each variable, on the demo's model."""


def asked() -> Iterator[DashboardQuery]:
    """Every query of every dashboard."""
    for build in DASHBOARDS.values():
        yield from queries(as_json(build()))


def n_series(prometheus: Prometheus, query: DashboardQuery) -> int:
    """Series with a number in them. A deploy is a moment, so annotations are asked for over the last ten minutes."""
    promql = query.substituted(VALUES)
    if query.place == "annotation":
        promql = f"last_over_time(({promql})[10m:5s])"
    return sum(isfinite(sample.value) for sample in prometheus.query(promql))


def n_traces(tempo: httpx.Client, query: DashboardQuery) -> int:
    """Traces that a search finds over the last half hour, as a dashboard asks for them. tempo: a client of its API."""
    now_s = int(time.time())
    parameters: dict[str, str | int] = {
        "q": query.substituted(VALUES),
        "limit": 20,
        "start": now_s - 1800,
        "end": now_s,
    }
    found: list[Any] = tempo.get("/api/search", params=parameters).raise_for_status().json()["traces"]
    return len(found)
