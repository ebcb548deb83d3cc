"""Lets a request in, or refuses it: by the host that it names, and by the key that it brings."""

import re
from collections.abc import Callable, Iterable, Iterator

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline_service.errors import ForbiddenError, MisdirectedError, SightlineError, UnauthorizedError
from sightline_service.server.asgi import Reply, respond, route_path
from sightline_telemetry.access.host_names import HostNames
from sightline_telemetry.access.key_file import FEEDBACK, PREDICT, READ, KeyFile
from sightline_telemetry.requests.running import TIMELINE

OPEN = ""
"""The scope of routes that ask for no key, whatever the host: an orchestrator calls them by address."""

_PREDICTIONS = re.compile(r"/predict/.+|/v1/models/[^/]+:predict|/v2/models/[^/]+(/versions/[^/]+)?/infer")
_HEALTH = re.compile(
    r"/livez|/readyz|/v1/models/[^/]+|/v2/health/(live|ready)|/v2/models/[^/]+(/versions/[^/]+)?/ready"
)
_SHOWN_CHARS = 80

Refuse = Callable[[Scope, SightlineError], Reply]


def needed_scope(method: str, path: str) -> str:
    """Returns the scope that a request needs; what is not known needs `read`.

    path: without the prefix of a proxy.

    >>> needed_scope("GET", "/livez"), needed_scope("POST", "/v1/models/churn:predict"), needed_scope("GET", "/docs")
    ('', 'predict', 'read')
    """
    if _PREDICTIONS.fullmatch(path):
        return PREDICT
    if path == "/feedback":
        return FEEDBACK
    return OPEN if method in ("GET", "HEAD") and _HEALTH.fullmatch(path) else READ


class Gate:
    """Decides whether a request is let in.

    hosts: the names that are allowed; None if all are. keys: verifies keys; None if none is needed.
    """

    def __init__(self, hosts: HostNames | None, keys: KeyFile | None) -> None:
        self._hosts = hosts
        self._keys = keys

    def check(self, scope: Scope, needed: str) -> None:
        """Notes in the timeline of a request whose key it brings.

        needed: the scope that the request needs; not OPEN.
        Raises MisdirectedError, UnauthorizedError or ForbiddenError.
        """
        headers = dict(scope["headers"])
        if self._hosts is not None and (host := headers.get(b"host", b"")) not in self._hosts:
            shown = host.decode("latin-1")[:_SHOWN_CHARS] or "none"
            raise MisdirectedError(f"the host is {shown}; use one of SIGHTLINE_ALLOWED_HOSTS, or add it there")
        if self._keys is None:
            return
        key = self._keys.holder(headers.get(b"authorization"))
        if key is None:
            is_sent = b"authorization" in headers
            raise UnauthorizedError(
                f"{'the key is not known here' if is_sent else 'the request has no key'}: send one as "
                "`Authorization: Bearer KEY`, or as the password of Basic with any user name"
            )
        timeline = scope.get(TIMELINE)
        if timeline is not None:
            timeline.client = key.label
        if needed not in key.scopes:
            raise ForbiddenError(f"the key {key.name} has not the scope `{needed}`: use one that has", needed)


class GateMiddleware:
    """Lets requests in on their way through ASGI, or refuses them; stands inside the telemetry, which counts both.

    refuse: makes the answer to a request that is refused.
    """

    def __init__(self, app: ASGIApp, gate: Gate, refuse: Refuse) -> None:
        self._app = app
        self._gate = gate
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it; scopes that are no requests pass."""
        if scope["type"] in ("http", "websocket"):
            needed = needed_scope(scope.get("method", ""), route_path(scope))
            try:
                if needed != OPEN:
                    self._gate.check(scope, needed)
            except SightlineError as error:
                await self._answer(scope, send, error)
                return
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send, error: SightlineError) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        _name_route(scope)
        await respond(send, self._refuse(scope, error))


def _name_route(scope: Scope) -> None:
    """Names the route that would have answered: a refusal is counted under it."""
    routes = _all_routes(scope["app"].router.routes) if "app" in scope else ()
    route = next((each for each in routes if each.matches(scope)[0] is Match.FULL), None)
    if route is not None:
        scope["route"] = route


def _all_routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Yields routes, with those of routers that were included; releases of FastAPI keep these as one route or many."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from _all_routes(included.routes)
