"""What a serving process leaves: the event of a request, with values that a test changes."""

from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.events.http_codes import METHOD_CODES
from sightline_telemetry.events.layout import NO_MODEL, NO_SLOT, VERSION, RequestEvent, Texts, write_request
from sightline_telemetry.model.rows import Rows
from sightline_telemetry.requests.request_kind import RequestKind
from tests.telemetry.rows import encoded

UNIX_NS = 1_700_000_000_000_000_000
START_NS = 5_000_000_000
FAULT_PLACES = ("middleware", "reading", "request_log")

ENDED = RequestEvent(
    layout=VERSION,
    flags=0,
    method=METHOD_CODES["GET"],
    scheme=0,
    version=2,
    caller_flags=0,
    model=NO_MODEL,
    reason=0,
    status=200,
    route=0,
    slot=NO_SLOT,
    n_rows=0,
    batch_rows=0,
    batch=0,
    trace_hi=0,
    trace_lo=0xABC,
    span_id=0xDEF,
    caller_span_id=0,
    unix_ns=UNIX_NS,
    start_ns=START_NS,
    end_ns=START_NS + 10_000_000,
    queued_ns=0,
    marks=(),
    texts=Texts(b"/"),
    rows=b"",
)
"""A GET of the first route that was answered with 200 after 10 ms, without a caller and without a model."""


def written(event: RequestEvent) -> bytes:
    """The event as bytes."""
    return write_request(event)


def lasting(duration_s: float, event: RequestEvent = ENDED) -> RequestEvent:
    """The event of a request that took so long."""
    return event._replace(end_ns=event.start_ns + round(duration_s * 1e9))


def predicted(model: DescribedModel, rows: Rows, number: int = 0) -> bytes:
    """The event of a request whose rows were predicted by a model with this number."""
    return written(ENDED._replace(model=number, n_rows=len(rows), rows=encoded(model, rows)))


def describe(*models: DescribedModel) -> Description:
    """A service of these models with two routes."""
    expected = (
        RequestKind("GET", "/", 200),
        RequestKind("POST", "/predict/model", 200),
        RequestKind("POST", "/predict/model", 500),
    )
    return Description(models, ("/", "/predict/model"), expected, FAULT_PLACES)
