"""Server spans by OpenTelemetry's own instrumentation of FastAPI, instead of ours.

The SDK's sampler then decides about a trace when its request begins. All else stays: the golden signals are counted
by our middleware alone, a request's ids are those of the instrumentation's span, and its segments are written as
children of that span. No request has two server spans.
"""

from typing import Any

from fastapi import FastAPI
from opentelemetry.context import attach, detach, get_current
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider, get_current_span
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline_telemetry.requests.middleware import HANDED_ON, Exchange, TelemetryMiddleware
from sightline_telemetry.requests.tail_sampling import Reason, TailSampler
from sightline_telemetry.requests.timeline import Caller, Timeline

_HOST = "sightline.host"
_VEILED = "sightline.veiled"


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

    def __init__(self, app: ASGIApp, **parts: Any) -> None:
        super().__init__(self._serve, **parts)
        self._hosted = app

    def begin(self, scope: Scope) -> Exchange:
        """A request begins, under the ids of the span that is current."""
        span = get_current_span()
        context = span.get_span_context()
        if context.is_valid and not context.is_remote:
            scope[_HOST] = get_current()
            state = context.trace_state.to_header()
            timeline = scope[HANDED_ON] = Timeline(
                Caller(context.trace_id, context.span_id, context.trace_flags, state)
            )
            timeline.span_id = context.span_id
            timeline.is_asked = span.is_recording() and context.trace_flags.sampled
        return super().begin(scope)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves under the host's span itself, so that the application can write to it."""
        host = scope.pop(_HOST, None)
        if host is None:
            await self._hosted(scope, receive, send)
            return
        token = attach(host)
        try:
            await self._hosted(scope, receive, send)
        finally:
            detach(token)


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
            scope[_VEILED] = {"query_string": scope["query_string"], "headers": scope["headers"]}
            scope["query_string"] = b""
            scope["headers"] = [(name, _utf8(value)) for name, value in scope["headers"]]
        await self._app(scope, receive, send)


class RestoreScope:
    """Gives an application the request as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, whole again."""
        scope.update(scope.pop(_VEILED, {}))
        await self._app(scope, receive, send)


class ContribTracing:
    """FastAPIInstrumentor around one application, from `start` to `stop`; its metrics go nowhere."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._unveiled = Middleware(RestoreScope)

    def start(self, tracers: TracerProvider) -> None:
        """Builds the application's stack anew, in the instrumentation's hands; all middleware is known by now.

        Raises RuntimeError if other semantic conventions than the stable ones are set in this process.
        """
        _insist_on_stable_conventions()
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # only where it is asked for

        self._app.user_middleware.insert(0, self._unveiled)
        FastAPIInstrumentor.instrument_app(
            self._app,
            tracer_provider=tracers,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )
        self._app.middleware_stack = HideFromInstrumentor(self._app.build_middleware_stack())

    def stop(self) -> None:
        """Leaves the application as it was, and Starlette too, whose background tasks the instrumentation patches."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        if self._unveiled in self._app.user_middleware:
            self._app.user_middleware.remove(self._unveiled)
            FastAPIInstrumentor.uninstrument_app(self._app)


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
