"""How a caller hands its trace on: by W3C Trace Context, or as OTEL_PROPAGATORS says."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points

from sightline_telemetry.requests.timeline import Caller, parse_traceparent

MAX_TRACESTATE_BYTES, MAX_TRACESTATE_MEMBERS = 512, 32
"""A longer `tracestate` is dropped before it is parsed: the limits of W3C Trace Context, 3.3.1.1 and 3.3.1.5."""

MAX_BAGGAGE_BYTES, MAX_BAGGAGE_MEMBERS = 8192, 64
"""Limits of W3C Baggage, 3.3.2."""

Headers = Iterable[tuple[bytes, bytes]]


class PropagatorError(ValueError):
    """A propagator is not installed."""


def propagators(environment: Mapping[str, str]) -> list[str]:
    """Returns the names of the propagators; an empty variable is as good as none."""
    names = [name.strip() for name in environment.get("OTEL_PROPAGATORS", "").split(",")]
    return [name for name in names if name] or ["tracecontext", "baggage"]


def check_propagators(environment: Mapping[str, str]) -> None:
    """Raises PropagatorError if a propagator is not installed: OpenTelemetry could then not even be imported."""
    for name in propagators(environment):
        if name.lower() != "none" and not entry_points(group="opentelemetry_propagator", name=name):
            raise PropagatorError(
                f"OTEL_PROPAGATORS names {name}, which is not installed: install the package that brings it, such as "
                f"opentelemetry-propagator-{name}, or take it out"
            )


def extractor(environment: Mapping[str, str]) -> Callable[[Headers], Caller | None] | None:
    """Returns what reads the caller from headers; None if W3C Trace Context alone says it, as by default."""
    names = {name.lower() for name in propagators(environment)}
    if "none" in names:
        return lambda headers: None  # noqa: ARG005
    if names == {"tracecontext"} or names == {"tracecontext", "baggage"}:
        return None
    return _extract


def _extract(headers: Headers) -> Caller | None:
    # Imported here because few need it, and because it raises an error for a propagator that is not installed.
    from opentelemetry.context import Context
    from opentelemetry.propagate import extract
    from opentelemetry.trace import get_current_span

    carrier: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        carrier[name.decode("latin-1").lower()].append(value.decode("latin-1"))
    found = get_current_span(extract(carrier, Context())).get_span_context()
    if not found.is_valid:
        return None
    return Caller(found.trace_id, found.span_id, int(found.trace_flags), found.trace_state.to_header())


_extract_caller = extractor(os.environ)


def within_limits(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Returns headers without a `tracestate` or a `baggage` beyond the limits of W3C, for those who parse them."""
    found = list(headers)
    limits = {
        b"tracestate": (MAX_TRACESTATE_BYTES, MAX_TRACESTATE_MEMBERS),
        b"baggage": (MAX_BAGGAGE_BYTES, MAX_BAGGAGE_MEMBERS),
    }
    for name, (max_bytes, max_members) in limits.items():
        value = b",".join(value for each, value in found if each == name)
        if len(value) > max_bytes or value.count(b",") >= max_members:
            found = [each for each in found if each[0] != name]
    return found


def read_caller(headers: Headers) -> Caller | None:
    """Reads the caller's ids from the headers of a request; returns None if there are none."""
    if _extract_caller is not None:
        return _extract_caller(headers)
    traceparent, tracestate = None, b""
    for name, value in headers:
        if name == b"traceparent":
            traceparent = value
        elif name == b"tracestate":
            tracestate = tracestate + b"," + value if tracestate else value
    if traceparent is None:
        return None
    if len(tracestate) > MAX_TRACESTATE_BYTES or tracestate.count(b",") >= MAX_TRACESTATE_MEMBERS:
        tracestate = b""
    return parse_traceparent(traceparent, tracestate)
