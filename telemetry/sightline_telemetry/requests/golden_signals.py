"""Counts the traffic, errors, latency and saturation of an HTTP server, without OpenTelemetry."""

from collections.abc import Iterable
from typing import NamedTuple

from sightline_telemetry.instruments import DURATION_BOUNDS_S
from sightline_telemetry.model.counts import ExemplarBuckets


class RequestKind(NamedTuple):
    """Identifies the requests of one series; each value must come from a fixed set, never freely from a client.

    route: empty if no route matched. status: 0 if there was no response.
    """

    method: str
    route: str
    status: int
    scheme: str = "http"
    version: str = "1.1"

    @property
    def attributes(self) -> dict[str, str | int]:
        """Returns the attributes named by the stable HTTP semantic conventions.

        >>> RequestKind("GET", "", 404).attributes["http.response.status_code"]
        404
        """
        attributes: dict[str, str | int] = {
            "http.request.method": self.method,
            "url.scheme": self.scheme,
            "network.protocol.version": self.version,
        }
        if self.route:
            attributes["http.route"] = self.route
        if self.status:
            attributes["http.response.status_code"] = self.status
        if self.status >= 500 or not self.status:
            attributes["error.type"] = str(self.status) if self.status else "cancelled"
        return attributes


RequestKey = tuple[str, str, int, str, str]
"""A RequestKind as a plain tuple, because making a tuple for each request is cheaper."""


class GoldenSignals:
    """Counts request durations by kind, and the requests that run now by method and scheme."""

    def __init__(self) -> None:
        self.durations: dict[RequestKind, ExemplarBuckets] = {}
        self.active: dict[tuple[str, str], int] = {}

    def expect(self, method: str, route: str, statuses: Iterable[int]) -> None:
        """Creates series at 0, so that the first request of each is visible in a rate."""
        self.active.setdefault((method, "http"), 0)
        for status in statuses:
            self.series(RequestKind(method, route, status))

    def series(self, kind: RequestKey) -> ExemplarBuckets:
        """Returns the histogram of one kind of request, and creates it if it does not exist."""
        buckets: ExemplarBuckets | None = self.durations.get(kind)  # type: ignore[call-overload]  # equal keys
        if buckets is None:
            buckets = self.durations[RequestKind(*kind)] = ExemplarBuckets(DURATION_BOUNDS_S)
        return buckets
