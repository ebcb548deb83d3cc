"""`GET /metrics`: the scrape, rendered off the event loop."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from sightline_service.errors import ObserverDownError
from sightline_service.routes.problems import documented_problems

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}},
    **documented_problems(ObserverDownError),
}
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]


def metrics_router(scrape: Scrape) -> APIRouter:
    """Serves OpenMetrics with exemplars, or classic text, as `Accept` requests."""
    router = APIRouter(tags=["telemetry"])

    @router.get("/metrics", response_class=Response, responses=_RESPONSES)
    async def metrics(request: Request) -> Response:
        """Returns all counts of the service."""
        body, content_type = await scrape(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return router
