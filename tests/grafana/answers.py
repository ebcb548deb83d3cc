"""What a running Prometheus answers to the dashboards' queries."""

from collections.abc import Iterator, Mapping
from math import isfinite

from grafana.queries import Asked, as_json, queries
from grafana.write import DASHBOARDS
from service.deployment import Prometheus

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


def asked() -> Iterator[Asked]:
    """Every query of every dashboard."""
    for build in DASHBOARDS.values():
        yield from queries(as_json(build()))


def n_series(prometheus: Prometheus, query: Asked) -> int:
    """Series with a number in them. A deploy is a moment, so annotations are asked for over the last ten minutes."""
    promql = query.substituted(VALUES)
    if query.place == "annotation":
        promql = f"last_over_time(({promql})[10m:5s])"
    return sum(isfinite(sample.value) for sample in prometheus.query(promql))
