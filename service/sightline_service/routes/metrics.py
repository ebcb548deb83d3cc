"""`GET /metrics`: the scrape, rendered off the event loop."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]


def metrics_router(scrape: Scrape) -> APIRouter:
    """Serves OpenMetrics with exemplars, or classic text, as `Accept` requests."""
    router = APIRouter(tags=["telemetry"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """Returns all counts of the service."""
        body, content_type = await scrape(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return router
