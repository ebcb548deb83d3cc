"""The layout of events: what a serving process writes about a request, a batch or a fault, and an observer reads.

An event is little-endian bytes: one byte for its type, one for VERSION, then the fields of its type. Writing the event
of a request is one `pack` of fixed fields, its marks, its texts and its rows; nothing is formatted while serving.
"""

from collections.abc import Sequence
from struct import Struct, calcsize, pack, unpack_from
from typing import NamedTuple

VERSION = 1

METHODS = ("_OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
"""Methods by their code; a method that is not among them is `_OTHER`, as in the semantic conventions."""
SCHEMES = ("http", "https")
HTTP_VERSIONS = ("other", "1.0", "1.1", "2", "3")
ERROR_REASONS = ("rejected", "failed", "cancelled")
"""Why a request got no prediction."""

METHOD_CODES = {method: code for code, method in enumerate(METHODS)}
SCHEME_CODES = {scheme: code for code, scheme in enumerate(SCHEMES)}
HTTP_VERSION_CODES = {version: code for code, version in enumerate(HTTP_VERSIONS)}

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


REQUEST, BATCH, COUNTS, FAULT, LOG, LABELS = range(1, 7)
"""The type of an event: its first byte. Plain integers, because an enum costs as much as the rest of the header."""

COUNTED = (REQUEST, BATCH, COUNTS, FAULT)
"""The types of events that add to the counts; the others are shown as they are."""


_VERSION_BYTE = bytes((VERSION,))
_TYPES = range(REQUEST, LABELS + 1)


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


class RequestEvent(NamedTuple):
    """One ended request, as an observer reads it.

    start_ns, end_ns, queued_ns, marks: readings of the monotonic clock; unix_ns: Unix time of the start.
    marks: (n_steps + 1,) times at which the steps of the model began, and the last one ended.
    rows: n_rows rows in the RowLayout of the model.
    """

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
    texts: "Texts"
    rows: bytes

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


class Texts(NamedTuple):
    """The texts of a request, as bytes, in the order in which they stand in its event; an absent one is empty.

    route: only if the route has no number. path: without the query string. error: the type of the exception.
    """

    path: bytes
    user_agent: bytes = b""
    client: bytes = b""
    server: bytes = b""
    tracestate: bytes = b""
    prediction_id: bytes = b""
    error: bytes = b""
    method: bytes = b""
    route: bytes = b""
    http_version: bytes = b""


class BatchEvent(NamedTuple):
    """One run of a model. queued_ns: how long each of its requests waited. marks: as in RequestEvent."""

    model: int
    n_rows: int
    marks: tuple[int, ...]
    queued_ns: tuple[int, ...]


_N_TEXTS = len(Texts._fields)
_REQUEST = Struct(f"<2BH7B3H2I9Q{_N_TEXTS}H")
_N_FIELDS = 21
_SLOT = Struct("<H2I4Q")  # from the slot to the span id
_SLOT_AT = calcsize("<2BH7B2H")
_BATCH = Struct("<4BIII")
_MARKS = tuple(Struct(f"<{n}Q") for n in range(64))
"""For the numbers of marks that pipelines have; a pipeline of more than 62 steps has its layout made for each event."""
_MAX_TEXTS_BYTES = 4 * MAX_TEXT_BYTES


def type_of(event: bytes) -> int:
    """Returns the type of an event.

    Raises UnknownEventError for an event of another version, or of no known type.
    """
    if event[1:2] != _VERSION_BYTE or event[0] not in _TYPES:
        raise UnknownEventError(f"no event of version {VERSION}: it begins with {event[:2]!r}")
    return event[0]


def request_event(fields: Sequence[int], marks: Sequence[int], texts: Sequence[bytes], rows: bytes) -> bytes:
    """Writes the event of an ended request.

    fields: those of RequestEvent before `marks`, in their order. texts: those of Texts, in their order.
    """
    joined = b"".join(texts)
    if len(joined) > _MAX_TEXTS_BYTES:
        texts = [*map(_cut, texts)]
        joined = b"".join(texts)
    head = _REQUEST.pack(REQUEST, VERSION, len(marks), *fields, *map(len, texts))
    return b"".join((head, _marks(len(marks)).pack(*marks), joined, rows))


def read_request(event: bytes) -> RequestEvent:
    """Reads the event of a request."""
    numbers = _REQUEST.unpack_from(event)
    marks = _marks(numbers[2])
    at = _REQUEST.size + marks.size
    texts = []
    for length in numbers[3 + _N_FIELDS :]:
        texts.append(event[at : at + length])
        at += length
    fields = numbers[3 : 3 + _N_FIELDS]
    return RequestEvent._make((*fields, marks.unpack_from(event, _REQUEST.size), Texts._make(texts), event[at:]))


def slot_of(event: bytes) -> tuple[int, int]:
    """Returns the slot that a request had while it was in flight, and its span id."""
    slot, _, _, _, _, _, span_id = _SLOT.unpack_from(event, _SLOT_AT)
    return slot, span_id


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
    """Writes an event that is one piece of bytes: counts, the place of a fault, a log line, totals of labels."""
    return bytes((kind, VERSION)) + body


def event_body(event: bytes) -> bytes:
    """Returns the bytes of such an event."""
    return event[2:]


def _marks(n: int) -> Struct:
    return _MARKS[n] if n < len(_MARKS) else Struct(f"<{n}Q")


def _cut(text: bytes) -> bytes:
    """Returns the first MAX_TEXT_BYTES of a text, less the bytes of a character of UTF-8 that would be cut in two."""
    if len(text) <= MAX_TEXT_BYTES:
        return text
    end = MAX_TEXT_BYTES
    while end > MAX_TEXT_BYTES - 3 and text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end]
