"""The metadata of the Open Inference Protocol: whether server and model are ready, inputs and outputs."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from sightline_service.prediction.tensors import STRINGS, datatype_of, datatypes_read
from sightline_service.routes.openapi import example_instance
from sightline_service.routes.served_model import ServedModel, documented_errors, documented_path
from sightline_telemetry.model.profile import Feature, ReferenceProfile

PLATFORM = "sklearn_skops"
EXTENSIONS = ["binary_tensor_data"]
_TAG = "open inference protocol v2"
_MODEL_PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


class ServerOut(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class LiveOut(BaseModel):
    """The server runs."""

    live: bool


class ServerReadyOut(LiveOut):
    """The server takes requests. The text of the specification calls this `live`, its servers and clients `ready`."""

    ready: bool


class TensorOut(BaseModel):
    """One tensor; a dimension of -1 is free. Parameters of `probabilities` name the classes of its columns."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None


class ModelMetadataOut(BaseModel):
    """The inputs and outputs of the model. A shape of [rows, 1] is accepted where [rows] is documented."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorOut]
    outputs: list[TensorOut]
    parameters: dict[str, str]


class DataOut(TensorOut):
    """A tensor with its elements, row by row; without them if they follow the JSON as binary data."""

    data: list[Any] | None = None


class InferOut(BaseModel):
    """The outputs; the trace id is among the parameters."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any]
    outputs: list[DataOut]


_PARAMETERS = {"type": ["object", "null"]}


def infer_schema(profile: ReferenceProfile, max_rows: int) -> dict[str, Any]:
    """Returns the schema of a request, for OpenAPI; no schema can say that data has as many elements as its shape."""
    inputs = [_input_schema(feature, max_rows) for feature in profile.features]
    names = [{"contains": {"required": ["name"], "properties": {"name": {"const": f.name}}}} for f in profile.features]
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(output_names(profile))}, "parameters": _PARAMETERS},
    }
    size = {"minItems": len(inputs), "maxItems": len(inputs)}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": {"anyOf": inputs} if inputs else {}, "allOf": names, **size},
            "outputs": {"type": ["array", "null"], "items": output, "uniqueItems": True},
        },
    }


def _input_schema(feature: Feature, max_rows: int) -> dict[str, Any]:
    rows = {"type": "integer", "minimum": 1, "maximum": max_rows}
    shape = {"type": "array", "prefixItems": [rows, {"const": 1}], "items": False, "minItems": 1}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"const": feature.name},
            "shape": shape,
            "datatype": {"enum": list(datatypes_read(feature))},
            "parameters": _PARAMETERS,
            "data": {"type": "array"},
        },
    }


def example_request(profile: ReferenceProfile) -> dict[str, Any]:
    """Makes a request of one row, of medians and most frequent categories."""
    row = example_instance(profile)
    inputs = []
    for tensor in _inputs(profile):
        value = row[tensor.name]
        # A median may lie between two integers, or two booleans.
        datatype = "FP64" if isinstance(value, float) else tensor.datatype
        inputs.append({"name": tensor.name, "shape": [1], "datatype": datatype, "data": [value]})
    return {"inputs": inputs}


def _inputs(profile: ReferenceProfile) -> list[TensorOut]:
    features = {feature.name: feature for feature in profile.features}
    return [TensorOut(name=name, datatype=datatype_of(features[name]), shape=[-1]) for name in profile.order]


def outputs(profile: ReferenceProfile) -> list[TensorOut]:
    """Returns the outputs of a model, as its metadata lists them."""
    ids = TensorOut(name="prediction_id", datatype=STRINGS, shape=[-1])
    if profile.task == "regression":
        return [TensorOut(name="value", datatype="FP64", shape=[-1]), ids]
    listed = [TensorOut(name="outcome", datatype=STRINGS, shape=[-1])]
    if profile.scores:
        classes = list(profile.outcomes)
        shape = [-1, len(classes)]
        listed.append(TensorOut(name="probabilities", datatype="FP64", shape=shape, parameters={"classes": classes}))
    return [*listed, ids]


def output_names(profile: ReferenceProfile) -> tuple[str, ...]:
    """Returns the names of the outputs, in their order."""
    return tuple(output.name for output in outputs(profile))


def inference_metadata_router(
    model: ServedModel, profile: ReferenceProfile, parameters: Mapping[str, str]
) -> APIRouter:
    """Makes the routes of the metadata. parameters: further metadata of the model."""
    router = APIRouter(tags=[_TAG])
    metadata = ModelMetadataOut(
        name=model.name,
        versions=[model.version],
        platform=PLATFORM,
        inputs=_inputs(profile),
        outputs=outputs(profile),
        parameters={"task": profile.task, **parameters},
    )

    @router.get("/v2")
    async def server() -> ServerOut:
        """The server and its extensions."""
        return ServerOut(name="sightline", version=version("sightline-service"), extensions=EXTENSIONS)

    @router.get("/v2/health/live")
    async def server_live() -> LiveOut:
        """Answers 200 while the process serves."""
        return LiveOut(live=True)

    @router.get("/v2/health/ready", responses=documented_errors(503))
    async def server_ready() -> ServerReadyOut:
        """Answers 200 once predictions are served and measured."""
        model.check_ready()
        return ServerReadyOut(live=True, ready=True)

    async def model_metadata(request: Request) -> ModelMetadataOut:
        """The inputs and outputs of the model."""
        model.check_named(request.scope)
        return metadata

    for path in _MODEL_PATHS:
        extra = {"parameters": documented_path(path)}
        router.add_api_route(
            path,
            model_metadata,
            responses=documented_errors(404),
            response_model_exclude_none=True,
            openapi_extra=extra,
        )
        router.add_api_route(f"{path}/ready", model.ready, responses=documented_errors(404, 503), openapi_extra=extra)
    return router
