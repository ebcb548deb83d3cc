"""Lets OpenTelemetry's own instrumentation of FastAPI make the server spans, instead of our middleware.

The SDK's sampler then decides at the start of a request whether it is traced. The rest does not change: only our
middleware counts the golden signals. A request has the ids of the instrumentation's span, and its segments are written
as children of that span, so no request has two server spans.
"""

from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI
from opentelemetry.context import attach, get_current
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider, get_current_span
from starlette.middleware import Middleware

from sightline_telemetry.requests.asgi import ASGIApp, Receive, Scope, Send
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.propagation import within_limits
from sightline_telemetry.requests.running import TIMELINE, RunningRequest
from sightline_telemetry.requests.timeline import Caller, Timeline

_hidden: "ContextVar[dict[str, Any]]" = ContextVar("sightline_hidden")
"""The parts of the running request's scope that HideFromInstrumentor removed."""


class ExternalSpanMiddleware(TelemetryMiddleware):
    """Measures every request with the ids of the server span that is current when the request arrives.

    Without such a span (the instrumentation excludes the URL, or the SDK is disabled), a request has ids of its own
    and no trace.
    """

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request the ids of the current span, which stays current so that the application can write to it."""
        span, context = get_current_span(), get_current()
        ids = span.get_span_context()
        if not ids.is_valid or ids.is_remote:
            return super().begin(scope)
        timeline = Timeline(Caller(ids.trace_id, ids.span_id, int(ids.trace_flags), ids.trace_state.to_header()))
        timeline.span_id = ids.span_id
        timeline.is_asked = span.is_recording() and ids.trace_flags.sampled
        scope[TIMELINE] = timeline
        request = super().begin(scope)
        attach(context)  # `leave` restores the context from before both attachments
        return request

    def _decide(self, timeline: Timeline) -> None:
        timeline.is_asked = False  # a request without a span of the instrumentation has no trace


class HideFromInstrumentor:
    """Hides parts of a request from the instrumentation; `RestoreScope` restores them for the application.

    A query string may contain secrets. Bytes in it or in a header that cannot be decoded would make the
    instrumentation raise, and the client would get a 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, without its query string and with headers that can be decoded."""
        if scope["type"] == "http":
            _hidden.set({"query_string": scope["query_string"], "headers": scope["headers"]})
            scope["query_string"] = b""
            scope["headers"] = [(name, _utf8(value)) for name, value in within_limits(scope["headers"])]
        await self._app(scope, receive, send)


class RestoreScope:
    """Restores the query string and headers that `HideFromInstrumentor` removed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on with its original query string and headers."""
        if scope["type"] == "http":
            scope.update(_hidden.get())
        await self._app(scope, receive, send)


class ContribTracing:
    """Applies FastAPIInstrumentor to one application, from `start` to `stop`, and discards its metrics."""

    def __init__(self, app: FastAPI) -> None:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # an optional extra

        self._instrumentor = FastAPIInstrumentor
        self._app = app
        self._restore_scope = Middleware(RestoreScope)

    def start(self, tracers: TracerProvider) -> None:
        """Instruments the application and rebuilds its middleware stack; all middleware must have been added before.

        Raises RuntimeError if this process uses other semantic conventions than the stable ones.
        """
        _check_stable_conventions()
        self._app.user_middleware.insert(0, self._restore_scope)
        self._instrumentor.instrument_app(
            self._app,
            tracer_provider=tracers,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )
        self._app.middleware_stack = HideFromInstrumentor(self._app.build_middleware_stack())

    def stop(self) -> None:
        """Removes the instrumentation from the application, and its patch of Starlette's background tasks."""
        if self._restore_scope in self._app.user_middleware:
            self._app.user_middleware.remove(self._restore_scope)
            self._instrumentor.uninstrument_app(self._app)


def _check_stable_conventions() -> None:
    from opentelemetry.instrumentation import _semconv as conventions

    # The first instrumentation in a process chooses the conventions for all. No public API returns the choice.
    chosen = conventions._OpenTelemetrySemanticConventionStability  # noqa: SLF001
    chosen._initialize()  # type: ignore[no-untyped-call]  # noqa: SLF001
    mode = chosen._get_opentelemetry_stability_opt_in_mode(  # noqa: SLF001
        conventions._OpenTelemetryStabilitySignalType.HTTP  # noqa: SLF001
    )
    if mode.value != "http":
        raise RuntimeError(
            f"server spans would follow other HTTP semantic conventions than the stable ones ({mode.value}): "
            f"set OTEL_SEMCONV_STABILITY_OPT_IN=http in the environment of the process"
        )


def _utf8(value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value
