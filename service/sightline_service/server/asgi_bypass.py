"""The bypass of ASGI: a request that can be answered synchronously goes past server and framework.

A server that has read a whole request calls `BypassApp.asgi_bypass` first (`server.protocol` does). A request that has
to wait takes the way through ASGI, as do all as soon as the app has middleware besides the telemetry's, or another
route in front.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from sightline_service.server.asgi import Reply
from sightline_service.server.bounds import Bounds
from sightline_service.server.connections import Connections
from sightline_service.server.gate import Gate, GateMiddleware
from sightline_service.server.head_as_get import HeadAsGet
from sightline_service.server.joined_writes import WriteBatch
from sightline_telemetry.access.certificate import Certificate
from sightline_telemetry.access.key_file import PREDICT
from sightline_telemetry.requests.ids import IdsMiddleware
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.running import RequestTelemetry


class InlineEndpoint(Protocol):
    """An endpoint that can answer synchronously."""

    def answer_now(self, scope: Scope, body: bytes) -> Reply | None:
        """Answers a request whose body is whole; None if the request has to wait.

        What it raises is raised again on the way through ASGI, where it is answered and counted.
        """


class BypassApp(FastAPI):
    """A FastAPI app that lets requests of some of its routes bypass ASGI.

    asgi_bypass: answers these requests once the app has started; None if the app has middleware of others.
    certificate: with which its server speaks HTTPS; None for HTTP.
    connections: those of its server, and their bounds. writes: the batch of writes that they share.
    """

    def __init__(self, connections: Connections | None = None, **options: Any) -> None:
        super().__init__(redirect_slashes=False, **options)  # a redirect would lead to the host that the client names
        self.router.middleware_stack = HeadAsGet(self.router.middleware_stack)
        self.connections = Connections(Bounds()) if connections is None else connections
        self._bypassed: dict[bytes, tuple[Route, InlineEndpoint]] = {}
        self.asgi_bypass: AsgiBypass | None = None
        self.certificate: Certificate | None = None
        self.amend_openapi: Callable[[dict[str, Any]], None] | None = None
        """Completes the document of the API; may be called again on what it has completed."""
        self.writes = WriteBatch()

    def bypass(self, route: Route, endpoint: InlineEndpoint) -> None:
        """Lets POST requests of one of the routes bypass ASGI."""
        self._bypassed[route.path.encode()] = route, endpoint

    def openapi(self) -> dict[str, Any]:
        """Returns the document of the API."""
        document = super().openapi()
        if self.amend_openapi is not None:
            self.amend_openapi(document)
        return document

    def build_middleware_stack(self) -> ASGIApp:
        """Builds the stack, and decides whether requests may bypass it until it is built again."""
        self.asgi_bypass = None
        stack = super().build_middleware_stack()
        users: list[Any] = self.user_middleware
        gates = [each.kwargs["gate"] for each in users[1:] if each.cls is GateMiddleware]
        is_ours = len(users) == 1 + len(gates) and users[0].cls in (TelemetryMiddleware, IdsMiddleware)
        is_instrumented = "build_middleware_stack" in vars(self)  # as FastAPIInstrumentor does, to stand outside
        if is_ours and not is_instrumented:
            routes = {path: pair for path, pair in self._bypassed.items() if self._is_routed_to(pair[0])}
            routes |= {self.root_path.encode() + path: pair for path, pair in routes.items()}
            telemetry = users[0].cls(stack, **users[0].kwargs)
            self.asgi_bypass = AsgiBypass(telemetry, routes, gates[0] if gates else None)
            self.writes.release = telemetry.release
        return stack

    def _is_routed_to(self, route: Route) -> bool:
        """Returns False if another route stands before it, or if it was removed."""
        scope: Scope = {"type": "http", "method": "POST", "path": route.path, "root_path": "", "headers": []}
        return next((each for each in self.router.routes if each.matches(scope)[0] is Match.FULL), None) is route


class AsgiBypass:
    """Answers requests of some routes synchronously, measured like all others.

    paths: of the routes, as they stand in a request. gate: lets requests in; None if all are.
    """

    def __init__(
        self,
        telemetry: RequestTelemetry,
        routes: Mapping[bytes, tuple[Route, InlineEndpoint]],
        gate: Gate | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._gate = gate
        self._routes = routes
        self.paths = frozenset(routes)

    def answer(self, scope: Scope, body: bytes) -> Reply | None:
        """Answers a POST request to one of the paths, and counts it before it is written; its slot is then kept.

        None if the request has to go through ASGI, with nothing counted and with the ids that it has now.
        """
        scope["route"], endpoint = self._routes[scope["raw_path"]]
        telemetry = self._telemetry
        request = telemetry.begin(scope)
        reply = None
        try:
            if self._gate is not None:
                self._gate.check(scope, PREDICT)
            reply = endpoint.answer_now(scope, body)
            if reply is not None:
                telemetry.end(request, reply.status)
        except Exception:
            request.timeline.prediction = reply = None
        finally:
            telemetry.leave(request)
        if reply is None and request.timeline.slot >= 0:
            telemetry.release([request.timeline.slot])
        return reply
