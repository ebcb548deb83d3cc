"""The short way to the hot routes: past server and framework, as long as nobody has put anything between.

A server that has read a whole request calls `BypassApp.short_way` first (`server.protocol` does). As soon as an app
has middleware besides our own or another route in front, or the request has to wait, it goes through ASGI like others.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from sightline_service.server.asgi import Reply
from sightline_service.server.joined_writes import WriteBatch
from sightline_telemetry.requests.middleware import HANDED_ON, IdentityMiddleware, TelemetryMiddleware

Write = Callable[[Reply], None]
TracedWrite = Callable[[Reply, bytes], None]
"""Writes a response and, as its header `traceresponse`, where its trace would be."""


class InlineEndpoint(Protocol):
    """An endpoint that can do without waiting."""

    def serve_at_once(self, scope: Scope, body: bytes, write: Write) -> bool:
        """Answers a request whose body is whole, by one call of write.

        False, with nothing written, and no row or error counted, if it has to wait. What it cannot answer is raised,
        with nothing written, and met again on the way through ASGI.
        """
        ...


class BypassApp(FastAPI):
    """A FastAPI app some of whose routes are hot.

    short_way: past the app, from when it starts; None if its middleware is not ours alone.
    turn: what its server writes within a turn of the event loop.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._hot: dict[bytes, tuple[Route, InlineEndpoint]] = {}
        self.short_way: AsgiBypass | None = None
        self.turn = WriteBatch()

    def bypass(self, route: Route, endpoint: InlineEndpoint) -> None:
        """Lets POST requests of one of the routes take the short way."""
        self._hot[route.path.encode()] = route, endpoint

    def build_middleware_stack(self) -> ASGIApp:
        """The stack; whether there is a short way past it is known from now on, until it is built again."""
        self.short_way = None
        stack = super().build_middleware_stack()
        classes: list[Any] = [middleware.cls for middleware in self.user_middleware]
        is_instrumented = "build_middleware_stack" in vars(self)  # as FastAPIInstrumentor does, to stand outside
        if classes in ([TelemetryMiddleware], [IdentityMiddleware]) and not is_instrumented:
            (ours,) = self.user_middleware
            hot = {path: way for path, way in self._hot.items() if self._is_routed_to(way[0])}
            self.short_way = AsgiBypass(classes[0](stack, **ours.kwargs), hot)
        return stack

    def _is_routed_to(self, route: Route) -> bool:
        """False if somebody has put a route of theirs before it, or has taken it away."""
        scope: Scope = {"type": "http", "method": "POST", "path": route.path, "root_path": "", "headers": []}
        return next((each for each in self.router.routes if each.matches(scope)[0] is Match.FULL), None) is route


class AsgiBypass:
    """Answers requests of hot routes at once, measured like all others.

    paths: of the routes, as they stand in a request.
    """

    def __init__(self, telemetry: TelemetryMiddleware, hot: Mapping[bytes, tuple[Route, InlineEndpoint]]) -> None:
        self._telemetry = telemetry
        self._hot = hot
        self.paths = frozenset(hot)

    def serve(self, scope: Scope, body: bytes, write: TracedWrite) -> bool:
        """Answers a POST request to one of the paths; False if it has to go through ASGI, under the ids it has now."""
        scope["route"], endpoint = self._hot[scope["raw_path"]]
        telemetry = self._telemetry
        exchange = telemetry.begin(scope)

        def write_and_mark(reply: Reply) -> None:
            write(reply, exchange.timeline.traceresponse())
            telemetry.end(exchange, reply.status)

        is_answered = False
        try:
            is_answered = endpoint.serve_at_once(scope, body, write_and_mark)
        except Exception:
            if exchange.timeline.end_ns:
                raise
            # Otherwise it is met again, answered and counted, on the way through ASGI.
        finally:
            telemetry.leave(exchange)
        if not is_answered:
            scope[HANDED_ON] = exchange.timeline
        return is_answered
