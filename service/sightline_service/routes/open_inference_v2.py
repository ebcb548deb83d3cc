"""Open Inference Protocol, version 2: one named tensor per feature in, named tensors out.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.types import ASGIApp, Scope

from sightline_service.errors import BadTensorError, SightlineError
from sightline_service.prediction.columns import Columns
from sightline_service.prediction.tensors import InferRequest, RequestedOutput, TensorReader, output_tensor
from sightline_service.routes.metadata_v2 import InferOut, example_request, infer_schema, output_names
from sightline_service.routes.prediction_endpoint import Dialect, Predicted
from sightline_service.routes.served_model import ERRORS, ServedModel, documented_errors, documented_path, refusal
from sightline_service.server.asgi import JSON, AsgiRoute, Reply
from sightline_telemetry.model.histogram import Floats
from sightline_telemetry.model.profile import ReferenceProfile

PATHS = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
JSON_LENGTH = b"inference-header-content-length"
"""Header with the length of the JSON, where binary data follows it."""

OCTETS = b"application/octet-stream"


class TensorDialect(Dialect[InferRequest]):
    """Tensors in, tensors out, errors as `{"error": ...}`."""

    # Triton's client sends no content type.
    content_types = frozenset({JSON, OCTETS, b""})

    def __init__(self, model: ServedModel, reader: TensorReader, profile: ReferenceProfile) -> None:
        self._model = model
        self._reader = reader
        self._outcomes = profile.outcomes
        self._outputs = output_names(profile)

    def read(self, scope: Scope, body: bytes) -> tuple[Columns, InferRequest]:
        """Reads the columns of the inputs, and the request, whose outputs exist."""
        self._model.check_named(scope)
        columns, request = self._reader.read(body, _json_bytes(scope, len(body)))
        self._check_outputs(request.outputs or ())
        return columns, request

    def wants_ids(self, asked: InferRequest) -> bool:
        """Returns False if the request lists other outputs only."""
        return not asked.outputs or any(output.name == "prediction_id" for output in asked.outputs)

    def answer(self, predicted: Predicted, asked: InferRequest) -> Reply:
        """Writes the requested outputs in their order; all of them if the request lists none."""
        by_default = bool(asked.parameters and asked.parameters.binary_data_output)
        tensors, binary, has_binary = [], [], False
        for wanted in asked.outputs or [RequestedOutput(name) for name in self._outputs]:
            is_wanted = wanted.parameters.binary_data if wanted.parameters else None
            is_binary = by_default if is_wanted is None else is_wanted
            tensor, data = output_tensor(wanted.name, self._values(predicted, wanted.name), is_binary=is_binary)
            tensors.append(tensor)
            binary.append(data)
            has_binary = has_binary or is_binary
        head: dict[str, Any] = {"model_name": self._model.name, "model_version": self._model.version}
        if asked.id is not None:
            head["id"] = asked.id
        body = msgspec.json.encode({**head, "parameters": {"trace_id": predicted.trace_id}, "outputs": tensors})
        if not has_binary:
            return Reply(body)
        return Reply(b"".join([body, *binary]), content_type=OCTETS, headers=((JSON_LENGTH, b"%d" % len(body)),))

    def refuse(self, error: SightlineError, trace_id: str) -> Reply:  # noqa: ARG002  # it is in the header
        """Writes the error in the protocol's shape."""
        return refusal(error)

    def _check_outputs(self, outputs: Sequence[RequestedOutput]) -> None:
        names = [output.name for output in outputs]
        for output in outputs:
            shown = repr(output.name)[:80]
            if output.name not in self._outputs:
                raise BadTensorError(f"output {shown}: the model has {', '.join(self._outputs)}")
            if names.count(output.name) > 1:
                raise BadTensorError(f"output {shown}: it is asked for twice")
            for extension in ("classification", "shared_memory_region"):
                if getattr(output.parameters, extension, msgspec.UNSET) is not msgspec.UNSET:
                    raise BadTensorError(f"output {shown}: {extension} is not supported; leave it out")

    def _values(self, predicted: Predicted, name: str) -> Sequence[str] | Floats:
        prediction = predicted.prediction
        if name == "outcome":
            return [self._outcomes[code] for code in prediction.outcome_list()]
        if name == "prediction_id":
            return predicted.ids
        values = prediction.arrays.probabilities if name == "probabilities" else prediction.arrays.values
        assert values is not None  # noqa: S101  # output_names has only the outputs of the model
        return values


def _json_bytes(scope: Scope, body_bytes: int) -> int | None:
    for name, value in scope["headers"]:
        if name == JSON_LENGTH:
            # Twenty digits are more than any body has, and thousands are more than int() takes.
            if not value.isdigit() or len(value) >= 20 or int(value) > body_bytes:
                raise BadTensorError(
                    f"the header Inference-Header-Content-Length is {value[:20]!r}; the body has {body_bytes} bytes"
                )
            return int(value)
    return None


def infer_routes(endpoint: ASGIApp, profile: ReferenceProfile, max_rows: int) -> list[AsgiRoute]:
    """Makes the routes of inference, without and with a version, with their documentation."""

    async def infer() -> Any:
        """Predicts a row for each element of the inputs, for clients of the Open Inference Protocol."""

    content = {"application/json": {"schema": infer_schema(profile, max_rows), "example": example_request(profile)}}
    return [
        AsgiRoute(
            path,
            infer,
            endpoint,
            response_model=InferOut,
            response_model_exclude_unset=True,
            responses=documented_errors(*ERRORS),
            openapi_extra={"parameters": documented_path(path), "requestBody": {"content": content, "required": True}},
            tags=["open inference protocol v2"],
        )
        for path in PATHS
    ]
