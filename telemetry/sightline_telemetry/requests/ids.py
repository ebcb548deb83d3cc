"""Ids for every request where nothing is measured."""

from opentelemetry.context import attach, detach
from opentelemetry.trace import set_span_in_context

from sightline_telemetry.requests.asgi import ASGIApp, Message, Receive, Scope, Send
from sightline_telemetry.requests.propagation import read_caller
from sightline_telemetry.requests.running import TIMELINE, RequestSpan, RunningRequest
from sightline_telemetry.requests.timeline import Timeline


class IdsMiddleware:
    """Gives every HTTP request its ids without measuring it; used when the telemetry is switched off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request; other scopes pass through unmeasured."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = self.begin(scope)

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                ids = (b"traceresponse", request.timeline.traceresponse())
                message["headers"] = [*message.get("headers", ()), ids]
            await send(message)

        try:
            await self._app(scope, receive, send_with_ids)
        finally:
            self.leave(request)

    def begin(self, scope: Scope) -> RunningRequest:
        """Gives a request its ids, in its scope and in the context."""
        timeline: Timeline | None = scope.get(TIMELINE)
        if timeline is None or timeline.is_running:  # an app may be mounted within another
            timeline = scope[TIMELINE] = Timeline(read_caller(scope["headers"]))
        timeline.is_running = True
        return RunningRequest(scope, timeline, 0, 0, attach(set_span_in_context(RequestSpan(timeline))))

    def end(self, request: RunningRequest, status: int, error: str | None = None) -> None:
        """Does nothing: no request is counted."""

    def leave(self, request: RunningRequest) -> None:
        """Removes the request's ids from the context."""
        request.timeline.is_running = False
        detach(request.token)

    def release(self, slots: list[int]) -> None:
        """Does nothing: no request has a slot."""
