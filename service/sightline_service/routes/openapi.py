"""Requests and responses as pydantic models, derived from the bundle's profile: what the OpenAPI document shows."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from sightline_service.prediction.instances import json_type
from sightline_telemetry.model.profile import CategoricalFeature, Feature, ReferenceProfile


class OutcomeOut(BaseModel):
    """One row's prediction by a model without probabilities."""

    prediction_id: str = Field(description="Send the true label back with this id.")
    outcome: str = Field(description="The predicted class.")


class PredictionOut(OutcomeOut):
    """One row's prediction."""

    probabilities: dict[str, float] = Field(description="P(class) for every class.")


class ValueOut(BaseModel):
    """One row's prediction by a regression."""

    prediction_id: str = Field(description="Send the true value back with this id.")
    value: float | None = Field(description="The predicted value; null where the model gives none that is finite.")


class ModelOut(BaseModel):
    """The model that predicted."""

    name: str
    version: str


class PredictOut(BaseModel):
    """One prediction per instance, in the same order."""

    predictions: list[PredictionOut]
    model: ModelOut
    trace_id: str


def row_model(profile: ReferenceProfile) -> type[BaseModel]:
    """Returns one row's prediction as a pydantic model, for OpenAPI: what it has depends on the model."""
    if profile.task == "regression":
        return ValueOut
    return PredictionOut if profile.scores else OutcomeOut


def response_model(profile: ReferenceProfile) -> type[BaseModel]:
    """Returns the response as a pydantic model, for OpenAPI."""
    row = row_model(profile)
    return create_model("PredictOut", __base__=PredictOut, predictions=(list[row], ...))  # type: ignore[valid-type]


class FaultOut(BaseModel):
    """One value that is wrong."""

    message: str
    field: str | None = None
    row: int | None = None


class ProblemOut(BaseModel):
    """An error, as RFC 9457 shapes it."""

    type: str | None = Field(None, description="A URI that stays the same for errors of one kind.")
    title: str
    status: int
    detail: str
    errors: list[FaultOut] | None = None
    trace_id: str | None = None


def problem_schema() -> dict[str, Any]:
    """Returns the schema of an error, whole: FastAPI has a place for models of one media type only."""
    schema = ProblemOut.model_json_schema()
    schema["properties"]["errors"] = {"type": "array", "items": schema.pop("$defs")["FaultOut"]}
    return schema


def rows_schema(profile: ReferenceProfile, max_rows: int) -> dict[str, Any]:
    """Returns the schema of rows by name, or by position in the order of the training data."""
    features = {feature.name: feature for feature in profile.features}
    values = [TypeAdapter(_described(features[name])).json_schema() for name in profile.order]
    unnamed = {"type": "array", "prefixItems": values, "minItems": len(values), "maxItems": len(values)}
    size = {"type": "array", "minItems": 1, "maxItems": max_rows}
    return {"anyOf": [size | {"items": {"$ref": "#/components/schemas/Instance"}}, size | {"items": unnamed}]}


def _described(feature: Feature) -> Any:
    """Returns the type of a feature's value; of a categorical one whose encoder refuses other values, with these."""
    if not isinstance(feature, CategoricalFeature) or feature.accepts_unseen:
        return json_type(feature)
    known: list[Any] = list(feature.values((*feature.categories, *feature.others)))
    enum = [*known, None] if feature.accepts_missing else known
    return Annotated[json_type(feature), Field(json_schema_extra={"enum": enum})]


def example_instance(profile: ReferenceProfile) -> dict[str, Any]:
    """Returns a row made of medians and most frequent categories: no row of the training data."""
    return {feature.name: _example(feature) for feature in profile.features}


def _example(feature: Feature) -> Any:
    if isinstance(feature, CategoricalFeature):
        return next(iter(feature.values(feature.categories[:1])), "")
    if feature.dtype == "bool":
        return bool(feature.median)
    return round(feature.median) if feature.dtype == "int64" else feature.median


def request_model(profile: ReferenceProfile, max_rows: int) -> type[BaseModel]:
    """Returns the request as a pydantic model, for OpenAPI; its example works as it stands."""
    fields: dict[str, Any] = {
        f"f{index}": (_described(feature), Field(alias=feature.name)) for index, feature in enumerate(profile.features)
    }
    strict = ConfigDict(extra="forbid", strict=True)
    instance = create_model("Instance", __config__=strict, **fields)
    return create_model(
        "PredictIn",
        __config__=ConfigDict(
            extra="forbid", strict=True, json_schema_extra={"example": {"instances": [example_instance(profile)]}}
        ),
        instances=(Annotated[list[instance], Field(min_length=1, max_length=max_rows)], ...),
    )
