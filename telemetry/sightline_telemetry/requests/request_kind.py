"""The kind of a request: what its series of durations is named by."""

from typing import NamedTuple


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
    def attributes(self) -> dict[str, str | int | bool]:
        """Returns the attributes named by the stable HTTP semantic conventions.

        >>> RequestKind("GET", "", 404).attributes["http.response.status_code"]
        404
        """
        if self == OVERFLOW:
            return {"otel.metric.overflow": True}
        attributes: dict[str, str | int | bool] = {
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


OVERFLOW = RequestKind("_OTHER", "", -1)
"""The kind of all requests beyond the largest number of series, named as OpenTelemetry's SDK names it."""
