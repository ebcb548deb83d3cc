"""The kind of a request: what its series of durations is named by."""

from typing import NamedTuple


class RequestKind(NamedTuple):
    """Identifies requests of one kind; each value must come from a fixed set, never freely from a client.

    route: empty if no route matched. status: 0 if there was no response. Scheme and version belong to spans: a series
    has the scheme that the service expects, and no version, because a client chooses both.
    """

    method: str
    route: str
    status: int
    scheme: str = "http"
    version: str = "1.1"

    @property
    def attributes(self) -> dict[str, str | int | bool]:
        """Returns the attributes of a series, named by the stable HTTP semantic conventions.

        >>> RequestKind("GET", "", 404).attributes["http.response.status_code"]
        404
        """
        attributes: dict[str, str | int | bool] = {"http.request.method": self.method, "url.scheme": self.scheme}
        if self == OTHER:
            return attributes
        if self.route:
            attributes["http.route"] = self.route
        if self.status:
            attributes["http.response.status_code"] = self.status
        if self.status >= 500 or not self.status:
            attributes["error.type"] = str(self.status) if self.status else "cancelled"
        return attributes


OTHER = RequestKind("_OTHER", "", -1)
"""The kind of all requests without a series of their own, whatever their method, route and status."""

OTHER_FAILED = RequestKind("_OTHER", "", 500)
"""The kind of those among them that the service failed to answer: they must stay visible as failures."""


def other(status: int) -> RequestKind:
    """Returns the kind under which a request without a series of its own is counted."""
    return OTHER_FAILED if status >= 500 else OTHER
