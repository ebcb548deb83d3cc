"""How a caller hands its trace on, where OTEL_PROPAGATORS does not name W3C Trace Context."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points

from sightline_telemetry.requests.timeline import Caller

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
