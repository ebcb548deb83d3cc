"""`POST /predict/model`: a bare ASGI endpoint, since FastAPI's own work would cost more than a small model."""

from typing import Any

import msgspec
from starlette.types import ASGIApp, Scope

from sightline_service import errors
from sightline_service.errors import SightlineError
from sightline_service.prediction.columns import ColumnBuilder, Columns
from sightline_service.prediction.instances import InstanceReader
from sightline_service.routes.json_rows import RowWriter
from sightline_service.routes.openapi import request_model, response_model
from sightline_service.routes.prediction_endpoint import Dialect, Predicted
from sightline_service.routes.problems import documented_problems, problem_reply
from sightline_service.server.asgi import JSON, AsgiRoute, Reply
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile

PATH = "/predict/model"
_ERRORS = (
    errors.MalformedBodyError,
    errors.BodyTooLargeError,
    errors.UnsupportedMediaError,
    errors.UnsupportedEncodingError,
    errors.InvalidRowsError,
    errors.PredictionFailedError,
    errors.QueueFullError,
)


class JsonDialect(Dialect[None]):
    """Rows as JSON objects, predictions as JSON objects, errors as problems of RFC 9457."""

    content_types = frozenset({JSON})

    def __init__(self, reader: InstanceReader, columns: ColumnBuilder, rows: RowWriter, model: ModelId) -> None:
        self._read = reader.read
        self._columns = columns.build
        self._objects = rows.objects
        self._model = msgspec.Raw(msgspec.json.encode({"name": model.name, "version": model.version}))
        self._encode = msgspec.json.Encoder().encode

    def read(self, scope: Scope, body: bytes) -> tuple[Columns, None]:  # noqa: ARG002  # the path has no parameter
        """Reads the columns of the body's instances."""
        return self._columns(self._read(body)), None

    def answer(self, predicted: Predicted, asked: None) -> Reply:  # noqa: ARG002
        """Writes one object per row, the model, and the trace id."""
        body = {
            "predictions": self._objects(predicted.prediction, predicted.ids),
            "model": self._model,
            "trace_id": predicted.trace_id,
        }
        return Reply(self._encode(body))

    def refuse(self, error: SightlineError, trace_id: str) -> Reply:
        """Writes a problem that names the wrong values."""
        return problem_reply(error, trace_id)


def predict_route(endpoint: ASGIApp, profile: ReferenceProfile, max_rows: int) -> AsgiRoute:
    """Makes the route with its documentation, which a test compares with what the route does."""

    async def predict(body: Any) -> Any:
        """Predicts an outcome or a value for each instance. A null is data; so is an unknown category."""

    answer = response_model(profile)
    predict.__annotations__ = {"body": request_model(profile, max_rows), "return": answer}
    problems = documented_problems(*_ERRORS)
    return AsgiRoute(PATH, predict, endpoint, response_model=answer, responses=problems, tags=["predict"])
