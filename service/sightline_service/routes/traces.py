"""`GET /traces/{trace_id}`: a kept trace from the ring in memory, as OTLP/JSON."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path

from sightline_service.errors import InvalidParameterError, ObserverDownError, UnknownTraceError
from sightline_service.routes.problems import documented_problems

_PROBLEMS = documented_problems(UnknownTraceError, InvalidParameterError, ObserverDownError)
ReadTrace = Callable[[int], Awaitable[dict[str, Any] | None]]


def traces_router(read: ReadTrace) -> APIRouter:
    """Makes the route of the last kept traces."""
    router = APIRouter(tags=["telemetry"])

    @router.get("/traces/{trace_id}", responses=_PROBLEMS)
    async def trace(trace_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")]) -> dict[str, Any]:
        """The trace's spans; 404 if it was never kept, or is no longer among the last 1,000."""
        traces = await read(int(trace_id, 16))
        if traces is None:
            raise UnknownTraceError(f"the trace {trace_id} was not kept, or is no longer among the last ones")
        return traces

    return router
