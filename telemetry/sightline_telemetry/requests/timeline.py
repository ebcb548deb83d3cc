"""Holds the ids and the times of one request until it is decided whether its trace is kept; without OpenTelemetry.

Wall-clock time is read once, when the request starts. Every later time is a reading of the monotonic clock, so that
a step of the wall clock cannot make a span end before it starts.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import getrandbits
from time import perf_counter_ns, time_ns

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


@dataclass(frozen=True, slots=True)
class Segment:
    """Describes a part of a request that becomes a span; start_ns and end_ns are readings of the monotonic clock."""

    name: str
    start_ns: int
    end_ns: int
    attributes: SpanAttributes = field(default_factory=dict)
    children: tuple["Segment", ...] = ()


Segments = Callable[[], Iterable[Segment]]


class Timeline:
    """Holds the ids and the start of one request, and the function that lists its segments if its trace is kept."""

    __slots__ = ("caller", "end_ns", "is_asked", "is_running", "segments", "span_id", "start_ns", "trace_id", "unix_ns")

    def __init__(self, caller: Caller | None = None) -> None:
        self.caller = caller
        self.trace_id = caller.trace_id if caller is not None else getrandbits(128) or 1
        self.span_id = getrandbits(64) or 1
        self.is_running = False
        """True from `begin` to `leave` of the middleware; a new request must not use this timeline meanwhile."""
        self.is_asked: bool | None = None
        """True if the trace was requested at the start; None until the sampler has decided this."""
        self.unix_ns = time_ns()
        self.start_ns = perf_counter_ns()
        self.end_ns = 0
        self.segments: Segments | None = None
        """Lists the segments; called only if the trace is kept, after the response was sent."""

    def end(self) -> float:
        """Records the end and returns the duration in seconds."""
        self.end_ns = perf_counter_ns()
        return self.duration_s

    def unix(self, mark_ns: int) -> int:
        """Returns the Unix time, in ns, of a reading of the monotonic clock."""
        return self.unix_ns + (mark_ns - self.start_ns)

    @property
    def flags(self) -> int:
        """Returns the W3C trace flags while the request runs: sampled only if the trace was requested at the start."""
        inherited = RANDOM if self.caller is None else self.caller.flags & RANDOM
        return inherited | (SAMPLED if self.is_asked else 0)

    @property
    def trace_id_hex(self) -> str:
        """Returns the trace id as users and headers write it, in 32 hexadecimal digits."""
        return f"{self.trace_id:032x}"

    @property
    def duration_s(self) -> float:
        """Returns the time from start to end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    def traceresponse(self) -> bytes:
        """Returns the value of the `traceresponse` header, which gives the client the id of its trace.

        Source: W3C Trace Context level 2 (draft), https://w3c.github.io/trace-context/
        """
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.flags)
