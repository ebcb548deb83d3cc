"""The layout of events: what a serving process writes about a request, a batch or a fault, and an observer reads.

An event begins with one byte for its type and one for VERSION, then come the fields of its type. The event of a
request is one array of MessagePack, as a whole: its first byte is that of such arrays, and its first item is VERSION.
So writing it is one call; nothing is formatted or looked up while serving.
"""

from collections.abc import Sequence
from struct import Struct, pack, unpack_from
from typing import Any, NamedTuple

import msgspec

VERSION = 1

ERROR_REASONS = ("rejected", "failed", "cancelled")
"""Why a request got no prediction."""

REFUSED_REASONS = ("malformed", "head_size", "head_time", "body_time", "bodies", "idle", "unread", "connections")
"""Why a server refused a request by itself, or ended a connection: which bound was reached."""

NO_MODEL = 0xFF
NO_ROUTE = 0xFFFF
NO_SLOT = 0xFFFF

HAS_CALLER = 1
IS_ASKED = 2
"""The trace was requested at the start of the request, and its allowance was not used up."""
IS_OWN_BATCH = 4
"""The request was predicted alone, without a queue: its event counts the batch too."""

IS_OVER_BUDGET = 8
"""The trace was requested at the start of the request, but its allowance was used up."""

MAX_TEXT_BYTES = 1024
"""Longer texts of a request (its path, its user agent) are cut; a span shows 256 characters of them."""

REQUEST = 0xDC
BATCH, COUNTS, FAULT, LOG, LABELS, REFUSED = range(1, 7)
"""The type of an event: its first byte."""

COUNTED = (REQUEST, BATCH, COUNTS, FAULT, REFUSED)
"""The types of events that add to the counts; the others are shown as they are."""


_TYPES = {REQUEST: 3, **dict.fromkeys((BATCH, COUNTS, FAULT, LOG, LABELS, REFUSED), 1)}
"""Where each type of events has its VERSION."""
_VERSION_BYTE = bytes((VERSION,))


class UnknownEventError(ValueError):
    """The bytes are no event of this version."""


class RowLayout:
    """The layout of a predicted row: its numeric values, its codes, its outcome with probabilities, or its value.

    n_numeric: float64 each, NaN where missing. n_codes: unsigned 32-bit indices into the vocabulary of a feature.
    n_probabilities: one float64 per outcome; 0 if the model has none.
    """

    def __init__(self, n_numeric: int, n_codes: int, n_probabilities: int, *, has_outcomes: bool) -> None:
        self.n_numeric = n_numeric
        self.n_codes = n_codes
        self.n_probabilities = n_probabilities
        self.has_outcomes = has_outcomes
        outputs = f"I{n_probabilities}d" if has_outcomes else "d"
        self.struct = Struct(f"<{n_numeric}d{n_codes}I{outputs}")


class RawRows(NamedTuple):
    """Rows as they were read, before they become numbers; a reader looks categories up.

    rows: n_rows tuples, first the numeric, then the categorical values in the order of the profile, None where missing.
    outcomes: indices of classes, with probabilities if the model has them; or values of a regression.
    """

    rows: list[tuple[Any, ...]]
    outcomes: list[int] | None
    probabilities: list[tuple[float, ...]] | None
    values: list[float] | None


class Texts(NamedTuple):
    """The texts of a request, as bytes; an absent one is empty, and those at the end may be left out.

    path: without the query string; empty if it is that of the route. error: the type of the exception.
    route: only if the route has no number. key: the name of the key that the request came with.
    """

    path: bytes = b""
    user_agent: bytes = b""
    client: bytes = b""
    server: bytes = b""
    prediction_id: bytes = b""
    tracestate: bytes = b""
    error: bytes = b""
    method: bytes = b""
    route: bytes = b""
    http_version: bytes = b""
    key: bytes = b""


class RequestEvent(NamedTuple):
    """One ended request, as an observer reads it. Its writer gives a tuple of the same items to `write_request`.

    layout: VERSION. start_ns, end_ns, queued_ns, marks: readings of the monotonic clock; unix_ns: Unix time of the
    start. marks: (n_steps + 1,) times at which the steps of the model began, and the last one ended.
    rows: n_rows rows, as they were read or in the RowLayout of the model.
    """

    layout: int
    flags: int
    method: int
    scheme: int
    version: int
    caller_flags: int
    model: int
    reason: int
    status: int
    route: int
    slot: int
    n_rows: int
    batch_rows: int
    batch: int
    trace_hi: int
    trace_lo: int
    span_id: int
    caller_span_id: int
    unix_ns: int
    start_ns: int
    end_ns: int
    queued_ns: int
    marks: tuple[int, ...]
    texts: Texts
    rows: RawRows | bytes

    @property
    def trace_id(self) -> int:
        """Returns the 128 bits of the trace id."""
        return self.trace_hi << 64 | self.trace_lo

    @property
    def duration_s(self) -> float:
        """Returns the time from start to end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    def unix(self, mark_ns: int) -> int:
        """Returns the Unix time, in ns, of a reading of the monotonic clock."""
        return self.unix_ns + (mark_ns - self.start_ns)


class BatchEvent(NamedTuple):
    """One run of a model. queued_ns: how long each of its requests waited. marks: as in RequestEvent."""

    model: int
    n_rows: int
    marks: tuple[int, ...]
    queued_ns: tuple[int, ...]


_BATCH = Struct("<4BIII")


write_request = msgspec.msgpack.Encoder().encode
"""Writes the event of an ended request: a tuple of the items of a RequestEvent, none of which is checked."""

_read_request = msgspec.msgpack.Decoder(RequestEvent).decode


def type_of(event: bytes) -> int:
    """Returns the type of an event.

    Raises UnknownEventError for an event of another version, or of no known type.
    """
    at = _TYPES.get(event[0], 0) if event else 0
    if at == 0 or event[at : at + 1] != _VERSION_BYTE:
        raise UnknownEventError(f"no event of version {VERSION}: it begins with {event[:4]!r}")
    return event[0]


def read_request(event: bytes) -> RequestEvent:
    """Reads the event of a request. Raises UnknownEventError if it is none."""
    try:
        return _read_request(event)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnknownEventError(f"no event of a request: {error}") from error


def batch_event(model: int, n_rows: int, marks: Sequence[int], queued_ns: Sequence[int]) -> bytes:
    """Writes the event of a batch that is counted apart from its requests."""
    numbers = (*marks, *queued_ns)
    head = _BATCH.pack(BATCH, VERSION, model, 0, n_rows, len(marks), len(queued_ns))
    return head + pack(f"<{len(numbers)}Q", *numbers)


def read_batch(event: bytes) -> BatchEvent:
    """Reads the event of a batch."""
    _, _, model, _, n_rows, n_marks, n_queued = _BATCH.unpack_from(event)
    numbers = unpack_from(f"<{n_marks + n_queued}Q", event, _BATCH.size)
    return BatchEvent(model, n_rows, numbers[:n_marks], numbers[n_marks:])


def body_event(kind: int, body: bytes) -> bytes:
    """Writes an event that is one piece of bytes: counts, a fault's place, a log line, totals of labels, a reason."""
    return bytes((kind, VERSION)) + body


def event_body(event: bytes) -> bytes:
    """Returns the bytes of such an event."""
    return event[2:]


def cut(text: bytes) -> bytes:
    """Returns the first MAX_TEXT_BYTES of a text, less the bytes of a character of UTF-8 that would be cut in two."""
    if len(text) <= MAX_TEXT_BYTES:
        return text
    end = MAX_TEXT_BYTES
    while end > MAX_TEXT_BYTES - 3 and text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end]
