"""`GET /metrics`: the scrape, rendered off the event loop."""

import asyncio

from fastapi import APIRouter, Request, Response

from sightline_telemetry.export.scrape import Scrape


def metrics_router(scrape: Scrape) -> APIRouter:
    """Serves OpenMetrics with exemplars, or classic text, as `Accept` asks."""
    router = APIRouter(tags=["telemetry"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """All counts of this process."""
        body, content_type = await asyncio.to_thread(scrape.render, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return router
