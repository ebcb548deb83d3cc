"""Server spans by OpenTelemetry's own instrumentation of FastAPI, instead of ours.

The SDK's sampler then decides about a trace when its request begins. All else stays: the golden signals are counted
by our middleware alone, a request's ids are those of the instrumentation's span, and its segments are written as
children of that span. No request has two server spans.
"""

from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI
from opentelemetry.context import attach, get_current
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider, get_current_span
from starlette.middleware import Middleware

from sightline_telemetry.requests.asgi import ASGIApp, Receive, Scope, Send
from sightline_telemetry.requests.middleware import TIMELINE, RunningRequest, TelemetryMiddleware
from sightline_telemetry.requests.tail_sampling import Reason, TailSampler
from sightline_telemetry.requests.timeline import Caller, Timeline

_hidden: "ContextVar[dict[str, Any]]" = ContextVar("sightline_hidden")
"""The parts of the scope of the running request that HideFromInstrumentor took out."""


class HeadSampler(TailSampler):
    """Counts what the SDK's sampler took, as `asked`; decides nothing itself, so that no allowance cuts anything."""

    def wants(self, is_sampled_by_caller: bool) -> bool:  # noqa: ARG002  # the SDK's sampler has been asked
        """False: a request without a span of the instrumentation has no trace."""
        return False

    def decide(
        self,
        route: str,  # noqa: ARG002
        duration_s: float,  # noqa: ARG002
        *,
        is_asked: bool,
        has_failed: bool,  # noqa: ARG002
        needs_exemplar: bool,  # noqa: ARG002
    ) -> Reason | None:
        """Why this request's trace exists: it was taken at its start, or it does not."""
        if not is_asked:
            return None
        self.kept[Reason.ASKED] += 1
        return Reason.ASKED


class ExternalSpanMiddleware(TelemetryMiddleware):
    """Measures every request within the server span that is current when it arrives, under that span's ids.

    Where there is no such span (a URL that the instrumentation leaves out, an SDK that is disabled), a request has
    ids of its own and no trace.
    """

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request the ids of the current span, which stays current: the application can write to it."""
        span, context = get_current_span(), get_current()
        ids = span.get_span_context()
        if not ids.is_valid or ids.is_remote:
            return super().begin(scope)
        timeline = Timeline(Caller(ids.trace_id, ids.span_id, ids.trace_flags, ids.trace_state.to_header()))
        timeline.span_id = ids.span_id
        timeline.is_asked = span.is_recording() and ids.trace_flags.sampled
        scope[TIMELINE] = timeline
        request = super().begin(scope)
        attach(context)  # `leave` restores what was before both
        return request


class HideFromInstrumentor:
    """Hides from the instrumentation what it must not see, until `RestoreScope` shows it to the application.

    A query string carries secrets, and bytes in it or in a header that are no text would make the instrumentation
    raise, which the client would see as a 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, with no query string and with headers that are text."""
        if scope["type"] == "http":
            _hidden.set({"query_string": scope["query_string"], "headers": scope["headers"]})
            scope["query_string"] = b""
            scope["headers"] = [(name, _utf8(value)) for name, value in scope["headers"]]
        await self._app(scope, receive, send)


class RestoreScope:
    """Gives an application the request as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, whole again."""
        if scope["type"] == "http":
            scope.update(_hidden.get())
        await self._app(scope, receive, send)


class ContribTracing:
    """FastAPIInstrumentor around one application, from `start` to `stop`; its metrics go nowhere."""

    def __init__(self, app: FastAPI) -> None:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # an extra

        self._instrumentor = FastAPIInstrumentor
        self._app = app
        self._unveiled = Middleware(RestoreScope)

    def start(self, tracers: TracerProvider) -> None:
        """Builds the application's stack again, in the instrumentation's hands; all middleware is known by now.

        Raises RuntimeError if other semantic conventions than the stable ones are set in this process.
        """
        _insist_on_stable_conventions()
        self._app.user_middleware.insert(0, self._unveiled)
        self._instrumentor.instrument_app(
            self._app,
            tracer_provider=tracers,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )
        self._app.middleware_stack = HideFromInstrumentor(self._app.build_middleware_stack())

    def stop(self) -> None:
        """Leaves the application as it was, and Starlette too, whose background tasks the instrumentation patches."""
        if self._unveiled in self._app.user_middleware:
            self._app.user_middleware.remove(self._unveiled)
            self._instrumentor.uninstrument_app(self._app)


def _insist_on_stable_conventions() -> None:
    from opentelemetry.instrumentation import _semconv as conventions

    # Chosen once in a process, by whichever instrumentation comes first. Nothing public tells what was chosen.
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
