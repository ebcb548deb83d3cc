"""`/livez`: the process runs. `/readyz`: the model answers and every series exists."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse


def health_router(is_ready: Callable[[], bool]) -> APIRouter:
    """Makes the routes for an orchestrator's probes."""
    router = APIRouter(tags=["health"])

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """Answers 200 while the process serves."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"description": "Starting up or shutting down."}})
    async def readyz() -> Response:
        """Answers 200 once predictions are served and measured."""
        return JSONResponse({"status": "ok"}) if is_ready() else JSONResponse({"status": "not ready"}, 503)

    return router
