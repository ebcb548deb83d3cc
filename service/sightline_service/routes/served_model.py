"""What both protocols of other model servers share: the model in a path, and errors in their shape."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from fastapi import Request
from pydantic import BaseModel
from starlette.types import Scope

from sightline_service.errors import InvalidRowsError, NotReadyError, SightlineError, UnknownModelError, shortened
from sightline_service.server.asgi import Reply
from sightline_telemetry.model.model_id import ModelId

PREFIXES = ("/v1/", "/v2")
"""Below these every error has the protocols' own shape."""

ERRORS = {
    400: "The body is not JSON, or something in it does not fit the model: it is named.",
    403: "A page of another site sent this.",
    404: "No such model, or no such version of it, is served here.",
    413: "The body is too large.",
    415: "The body is of another type.",
    500: "The model failed.",
    503: "Too many rows wait, or the service starts up or shuts down; try again later.",
}
_SHOWN_CHARS = 80


class ErrorOut(BaseModel):
    """An error, as both protocols shape it."""

    error: str


class ReadyOut(BaseModel):
    """A model that is ready."""

    name: str
    ready: bool


class ServedModel:
    """The one model that is served, under the name and the version that paths may have."""

    def __init__(self, model: ModelId, is_ready: Callable[[], bool]) -> None:
        self.name = model.name
        self.version = model.version
        self._is_ready = is_ready

    def check_named(self, scope: Scope) -> None:
        """Raises UnknownModelError if the request's path names another model or version."""
        named: Mapping[str, str] = scope["path_params"]
        if named["name"] != self.name:
            raise UnknownModelError(f"there is no model {_shown(named['name'])}; {self.name!r} is served here")
        if named.get("version", self.version) != self.version:
            raise UnknownModelError(
                f"there is no version {_shown(named['version'])} of {self.name!r}; {self.version!r} is served here"
            )

    def check_ready(self) -> None:
        """Raises NotReadyError before the service is ready, and once it shuts down."""
        if not self._is_ready():
            raise NotReadyError(f"the model {self.name!r} is not ready")

    async def ready(self, request: Request) -> ReadyOut:
        """Answers whether the model is ready."""
        self.check_named(request.scope)
        self.check_ready()
        return ReadyOut(name=self.name, ready=True)


def refusal(error: SightlineError) -> Reply:
    """Makes the reply to a request without a prediction; the protocols have no 422."""
    status = 400 if isinstance(error, InvalidRowsError) else error.status
    return Reply(msgspec.json.encode({"error": shortened(error.detail)}), status, headers=error.headers)


def documented_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documents the errors of a route for OpenAPI."""
    return {status: {"description": ERRORS[status], "model": ErrorOut} for status in statuses}


def documented_path(path: str) -> list[dict[str, Any]]:
    """Documents the parameters of a path for OpenAPI. FastAPI's own way would add a 422 that is never answered."""
    names = [name for name in ("name", "version") if f"{{{name}}}" in path]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _shown(text: str) -> str:
    return repr(text)[:_SHOWN_CHARS]
