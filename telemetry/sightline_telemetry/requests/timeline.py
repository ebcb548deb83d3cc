"""Holds the ids and the times of one request until its event is written; without OpenTelemetry.

Wall-clock time is read once, when the request starts. Every later time is a reading of the monotonic clock, so that
a step of the wall clock cannot make a span end before it starts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from time import perf_counter_ns, time_ns
from typing import NamedTuple

from sightline_telemetry.events.layout import RawRows

SAMPLED = 0x01
RANDOM = 0x02

_TRACEPARENT = re.compile(
    rb"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)

AttributeValue = str | int | float | bool
SpanAttributes = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Caller:
    """Holds the ids and flags of a `traceparent` header, and the `tracestate` header beside it.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context-2/
    """

    trace_id: int
    span_id: int
    flags: int
    tracestate: str = ""

    @property
    def is_sampled(self) -> bool:
        """Returns True if the caller records its own span."""
        return bool(self.flags & SAMPLED)


def parse_traceparent(header: bytes, tracestate: bytes = b"") -> Caller | None:
    """Reads a `traceparent` header; returns None for a header that must be ignored by the specification.

    >>> parse_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_sampled
    True
    """
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    return Caller(int(trace_id, 16), int(span_id, 16), int(flags, 16), tracestate.decode("latin-1"))


class PredictionRecord(NamedTuple):
    """What a request's event says of its prediction: the last fields of the event, as `events.layout` defines them.

    model: its place in the description. reason: its place in ERROR_REASONS plus 1; 0 if the rows were predicted.
    marks: (n_steps + 1,) ns of the monotonic clock. rows: n_rows rows, as they were read or in the layout of the model;
    empty if they were counted already.
    """

    model: int
    reason: int = 0
    n_rows: int = 0
    batch_rows: int = 0
    batch: int = 0
    queued_ns: int = 0
    marks: Sequence[int] = ()
    prediction_id: str = ""
    rows: RawRows | bytes = b""
    flags: int = 0


class Timeline:
    """Holds the ids, the start and the end of one request, and what was predicted for it."""

    __slots__ = (
        "caller",
        "client",
        "end_ns",
        "is_asked",
        "is_over_budget",
        "is_running",
        "prediction",
        "slot",
        "span_id",
        "start_ns",
        "trace_id",
        "unix_ns",
    )

    def __init__(self, caller: Caller | None = None) -> None:
        self.caller = caller
        self.client = b""
        """The name of the key that the request came with; empty without one."""
        self.trace_id = caller.trace_id if caller is not None else getrandbits(128) or 1
        self.span_id = getrandbits(64) or 1
        self.is_running = False
        """True from `begin` to `leave` of the middleware; a new request must not use this timeline meanwhile."""
        self.is_asked: bool | None = None
        """True if the trace was requested at the start; None until this was decided."""
        self.is_over_budget = False
        """True if it was requested, but the allowance was used up."""
        self.unix_ns = time_ns()
        self.start_ns = perf_counter_ns()
        self.end_ns = 0
        self.slot = -1
        """Where the request stands among those in flight; -1 without a slot."""
        self.prediction: PredictionRecord | None = None
        """Set by the endpoint of a model before its response leaves."""

    @property
    def flags(self) -> int:
        """Returns the W3C trace flags while the request runs: sampled only if the trace was requested at the start."""
        inherited = RANDOM if self.caller is None else self.caller.flags & RANDOM
        return inherited | (SAMPLED if self.is_asked else 0)

    @property
    def trace_id_hex(self) -> str:
        """Returns the trace id as users and headers write it, in 32 hexadecimal digits."""
        return f"{self.trace_id:032x}"

    def traceresponse(self) -> bytes:
        """Returns the value of the `traceresponse` header, which gives the client the id of its trace.

        Source: W3C Trace Context level 2 (draft), https://w3c.github.io/trace-context/
        """
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.flags)
