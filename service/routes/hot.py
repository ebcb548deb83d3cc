"""The short way to the hot routes: past Starlette's stack, as long as nobody has put anything into it.

An exact path is looked up in a dictionary, where the stack walks through its middleware and tries every route.
As soon as an app has middleware besides our own, every request takes the whole stack again.
"""

from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry.middleware import TelemetryMiddleware


class HotApp(FastAPI):
    """A FastAPI app some of whose routes are hot: served by an ASGI endpoint that answers its errors itself."""

    def heat(self, route: Route) -> None:
        """Adds a route, first in line; POST alone takes the short way to it."""
        self.router.routes.insert(0, route)
        self._hot = {**getattr(self, "_hot", {}), route.path: route}

    def build_middleware_stack(self) -> ASGIApp:
        """The stack, or the short way before it where our own middleware is alone in it."""
        stack = super().build_middleware_stack()
        classes: list[Any] = [middleware.cls for middleware in self.user_middleware]
        if classes != [TelemetryMiddleware]:
            return stack
        (ours,) = self.user_middleware
        return ShortWay(self, stack, TelemetryMiddleware(_serve, **ours.kwargs), getattr(self, "_hot", {}))  # type: ignore[arg-type]


class ShortWay:
    """Sends requests of hot routes to their endpoints, measured like all others, and everything else to the stack."""

    def __init__(self, app: HotApp, stack: ASGIApp, measured: ASGIApp, hot: dict[str, Route]) -> None:
        self._app = app
        self._stack = stack
        self._measured = measured
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        route = self._hot.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._stack(scope, receive, send)
            return
        scope["route"] = route
        scope["path_params"] = {}
        try:
            await self._measured(scope, receive, send)
        except Exception as error:
            # As Starlette's outermost middleware does: answer, then let the server log it.
            answer = self._app.exception_handlers.get(500) or self._app.exception_handlers.get(Exception)
            if answer is not None:
                with suppress(RuntimeError):  # the response had begun
                    await (await answer(Request(scope), error))(scope, receive, send)  # type: ignore[misc]
            raise


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    await scope["route"].app(scope, receive, send)
