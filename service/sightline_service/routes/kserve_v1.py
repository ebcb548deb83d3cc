"""KServe's protocol, version 1: `POST /v1/models/{name}:predict`, and the list of models.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, create_model
from starlette.types import ASGIApp, Scope

from sightline_service.bodies.outline import WHOLE_BYTES
from sightline_service.bodies.unreadable import UNREADABLE, not_json
from sightline_service.errors import MalformedBodyError, SightlineError
from sightline_service.prediction.columns import ColumnBuilder, Columns, RowValues
from sightline_service.prediction.instances import InstanceReader
from sightline_service.routes.json_rows import RowWriter
from sightline_service.routes.openapi import example_instance, row_model, rows_schema
from sightline_service.routes.prediction_endpoint import Dialect, Predicted
from sightline_service.routes.served_model import ERRORS, ServedModel, documented_errors, documented_path, refusal
from sightline_service.server.asgi import JSON, AsgiRoute, Reply
from sightline_telemetry.model.profile import ReferenceProfile

PATH = "/v1/models/{name}:predict"


class KServeRequest(msgspec.Struct):
    """Rows under either name; other fields that clients of TensorFlow Serving send are ignored."""

    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class KServeDialect(Dialect[None]):
    """Predictions as `/predict/model` has them, errors as `{"error": ...}`; instances may be lists, too."""

    # TensorFlow Serving's clients, whose protocol this is, send no content type.
    content_types = frozenset({JSON, b""})

    def __init__(self, model: ServedModel, reader: InstanceReader, columns: ColumnBuilder, rows: RowWriter) -> None:
        self._model = model
        self._decode = msgspec.json.Decoder(KServeRequest).decode
        self._reader = reader
        self._columns = columns.build
        self._objects = rows.objects

    def read(self, scope: Scope, body: bytes) -> tuple[Columns, None]:
        """Reads the columns of the body's instances."""
        self._model.check_named(scope)
        is_large = len(body) > WHOLE_BYTES
        return self._columns(self._reader.in_pieces(body, self._rows) if is_large else self._rows(body)), None

    def _rows(self, body: bytes, first_row: int = 0) -> RowValues:
        try:
            request = self._decode(body)
        except msgspec.ValidationError as error:
            raise MalformedBodyError(f"the body is no request for predictions: {error}") from error
        except UNREADABLE as error:
            raise not_json(error, body) from error
        rows = request.inputs if request.instances is msgspec.UNSET else request.instances
        if rows is msgspec.UNSET:
            raise MalformedBodyError("the body has no instances")
        return self._reader.read_rows(rows, first_row)

    def answer(self, predicted: Predicted, asked: None) -> Reply:  # noqa: ARG002
        """Writes one object per row, with its prediction id."""
        return Reply(msgspec.json.encode({"predictions": self._objects(predicted.prediction, predicted.ids)}))

    def refuse(self, error: SightlineError, trace_id: str) -> Reply:  # noqa: ARG002  # it is in the header
        """Writes the error in the protocol's shape."""
        return refusal(error)


class ModelsOut(BaseModel):
    """Names of the models."""

    models: list[str]


def kserve_route(endpoint: ASGIApp, profile: ReferenceProfile, max_rows: int) -> AsgiRoute:
    """Makes the route of predictions with its documentation."""
    row = row_model(profile)

    async def predict_v1() -> Any:
        """Predicts one outcome per instance, for clients of KServe's protocol, version 1."""

    example = {"instances": [example_instance(profile)]}
    rows = rows_schema(profile, max_rows)
    either = [
        {"required": ["instances"], "properties": {"instances": rows}},
        {"required": ["inputs"], "properties": {"inputs": rows, "instances": False}},
    ]
    content = {"application/json": {"schema": {"type": "object", "anyOf": either}, "example": example}}
    return AsgiRoute(
        PATH,
        predict_v1,
        endpoint,
        response_model=create_model("PredictionsOut", predictions=(list[row], ...)),  # type: ignore[valid-type]
        responses=documented_errors(*ERRORS),
        openapi_extra={"parameters": documented_path(PATH), "requestBody": {"content": content, "required": True}},
        tags=["kserve v1"],
    )


def kserve_router(model: ServedModel) -> APIRouter:
    """Makes the routes that list the models, and answer whether one is ready."""
    router = APIRouter(tags=["kserve v1"])

    @router.get("/v1/models")
    async def models_v1() -> ModelsOut:
        """The one model that is served."""
        return ModelsOut(models=[model.name])

    path = "/v1/models/{name}"
    extra = {"parameters": documented_path(path)}
    router.add_api_route(path, model.ready, responses=documented_errors(404, 503), openapi_extra=extra)
    return router
