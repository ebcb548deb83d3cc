"""Traffic, errors, latency and saturation of an HTTP server, in counts. Knows no OpenTelemetry."""

from collections.abc import Iterable
from typing import NamedTuple

from sightline_telemetry.instruments import DURATION_BOUNDS_S
from sightline_telemetry.model.counts import ExemplarBuckets


class RequestKind(NamedTuple):
    """What requests of one series have in common; no value of it may be a client's own word.

    route is empty where none matched, status 0 where no response was made.
    """

    method: str
    route: str
    status: int
    scheme: str = "http"
    version: str = "1.1"

    @property
    def attributes(self) -> dict[str, str | int]:
        """Attributes by the stable HTTP semantic conventions.

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
"""A RequestKind as a plain tuple, which is cheaper to make for each request."""


class GoldenSignals:
    """Request durations by kind, and the requests that run now, by method and scheme."""

    def __init__(self) -> None:
        self.durations: dict[RequestKind, ExemplarBuckets] = {}
        self.active: dict[tuple[str, str], int] = {}

    def expect(self, method: str, route: str, statuses: Iterable[int]) -> None:
        """Makes series exist at 0, so that the first request counts in a rate."""
        self.active.setdefault((method, "http"), 0)
        for status in statuses:
            self.series(RequestKind(method, route, status))

    def series(self, kind: RequestKey) -> ExemplarBuckets:
        """The histogram of one kind of request, made if it is new."""
        buckets: ExemplarBuckets | None = self.durations.get(kind)  # type: ignore[call-overload]  # equal keys
        if buckets is None:
            buckets = self.durations[RequestKind(*kind)] = ExemplarBuckets(DURATION_BOUNDS_S)
        return buckets
