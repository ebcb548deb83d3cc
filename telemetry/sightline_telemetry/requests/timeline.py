"""The ids and the marks in time of one request: all that a request carries until it is decided upon.

Knows no OpenTelemetry. Wall-clock time is taken once, when the request starts; every later mark is a
reading of the monotonic clock, so that no clock step can make a span end before it starts.
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
    """What a `traceparent` header says: ids, flags, and the `tracestate` that came along.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context-2/
    """

    trace_id: int
    span_id: int
    flags: int
    tracestate: str = ""

    @property
    def is_sampled(self) -> bool:
        """True if the caller records its own span."""
        return bool(self.flags & SAMPLED)


def parse_traceparent(header: bytes, tracestate: bytes = b"") -> Caller | None:
    """Reads a `traceparent` header; None for a header that the specification says to ignore.

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
    """A stretch of a request's time that becomes a span; start_ns and end_ns are monotonic."""

    name: str
    start_ns: int
    end_ns: int
    attributes: SpanAttributes = field(default_factory=dict)
    children: tuple["Segment", ...] = ()


Segments = Callable[[], Iterable[Segment]]


class Timeline:
    """One request: its ids, its start, and how to list its segments if its trace is kept."""

    __slots__ = ("caller", "end_ns", "is_asked", "is_running", "segments", "span_id", "start_ns", "trace_id", "unix_ns")

    def __init__(self, caller: Caller | None = None) -> None:
        self.caller = caller
        self.trace_id = caller.trace_id if caller is not None else getrandbits(128) or 1
        self.span_id = getrandbits(64) or 1
        self.is_running = False
        """True from when the telemetry begins the request until it leaves; another may take it up after that."""
        self.is_asked: bool | None = None
        """True if the trace was asked for at the start; None until the sampler has decided that."""
        self.unix_ns = time_ns()
        self.start_ns = perf_counter_ns()
        self.end_ns = 0
        self.segments: Segments | None = None
        """Called only if the trace is kept, after the response has left."""

    def end(self) -> float:
        """Marks the end and returns the duration in seconds."""
        self.end_ns = perf_counter_ns()
        return self.duration_s

    def unix(self, mark_ns: int) -> int:
        """The Unix time, in ns, of a mark of the monotonic clock."""
        return self.unix_ns + (mark_ns - self.start_ns)

    @property
    def flags(self) -> int:
        """W3C trace flags as known while the request runs: sampled only if it was asked for."""
        inherited = RANDOM if self.caller is None else self.caller.flags & RANDOM
        return inherited | (SAMPLED if self.is_asked else 0)

    @property
    def trace_id_hex(self) -> str:
        """The trace id as users and headers write it, 32 hexadecimal digits."""
        return f"{self.trace_id:032x}"

    @property
    def duration_s(self) -> float:
        """From start to end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    def traceresponse(self) -> bytes:
        """The value of the `traceresponse` header, which tells the client where its trace would be.

        Source: W3C Trace Context level 2 (draft), https://w3c.github.io/trace-context/
        """
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.flags)
