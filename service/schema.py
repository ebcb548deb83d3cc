"""Request and response, derived from the bundle's profile: one reader for the hot route, one model for the docs."""

import re
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from service.errors import BundleError, Fault, InvalidRowsError, MalformedBodyError, shortened
from telemetry.profile import Feature, NumericFeature, ReferenceProfile

_AT = re.compile(
    r"(?P<what>.*?)(?: - at `\$(?:\.(?P<top>[^.\[]+))?(?:\[(?P<row>\d+)\])?(?:\.(?P<field>.*))?`)?", re.DOTALL
)
_READABLE = re.compile(r'[^"\\\x00-\x1f\x7f]+')
_NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)


class InstanceReader:
    """Reads a request body into one struct a row, checked against the profile; built once, used for every request.

    The struct's fields are f0, f1, ... in the order of `profile.features`, since a feature may have any name.
    """

    def __init__(self, profile: ReferenceProfile, max_rows: int) -> None:
        self._max_rows = max_rows
        self.fields = {f"f{index}": feature for index, feature in enumerate(profile.features)}
        for feature in profile.features:
            if not _READABLE.fullmatch(feature.name):
                what = "a quote, a backslash or a control character, which the JSON reader takes in no name"
                raise BundleError(f"the feature {feature.name!r} has {what}; rename the column and fit again")
        row = msgspec.defstruct(
            "Instance",
            [(field, _type(feature)) for field, feature in self.fields.items()],
            rename={field: feature.name for field, feature in self.fields.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        body = msgspec.defstruct(
            "Body",
            [("instances", Annotated[list[row], msgspec.Meta(min_length=1, max_length=max_rows)])],  # type: ignore[valid-type]
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(body).decode

    def read(self, body: bytes) -> list[Any]:
        """The rows of a body. Raises MalformedBodyError or InvalidRowsError, which names field and row."""
        try:
            instances: list[Any] = self._decode(body).instances  # type: ignore[attr-defined]
        except msgspec.ValidationError as error:
            raise self._invalid(shortened(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedBodyError(f"the body is not JSON: {error}") from error
        return instances

    def _invalid(self, message: str) -> InvalidRowsError:
        match = _AT.fullmatch(message)
        what, top, row, field = match.group("what", "top", "row", "field") if match else (message, None, None, None)
        if named := _NAMED.fullmatch(what):
            field = named["field"]
        field = field or top
        if "of length <=" in what:
            what = f"more than {self._max_rows} rows; send them in several requests"
        place = "".join([f"row {row}: " if row is not None else "", f"field {field!r}: " if field else ""])
        fault = Fault(what, field, int(row) if row is not None else None)
        return InvalidRowsError(f"{place}{what}", fault)


def _type(feature: Feature) -> Any:
    known: Any = float if isinstance(feature, NumericFeature) else str
    if isinstance(feature, NumericFeature) and feature.dtype == "bool":
        known = bool | float
    return known | None if feature.accepts_missing else known


class PredictionOut(BaseModel):
    """One row's prediction."""

    prediction_id: str = Field(description="Send the true label back with this id.")
    outcome: str = Field(description="The predicted class.")
    probabilities: dict[str, float] = Field(description="P(class) for every class.")


class ModelOut(BaseModel):
    """The model that predicted."""

    name: str
    version: str


class PredictOut(BaseModel):
    """One prediction an instance, in the same order."""

    predictions: list[PredictionOut]
    model: ModelOut
    trace_id: str


class FaultOut(BaseModel):
    """One value that is wrong."""

    message: str
    field: str | None = None
    row: int | None = None


class ProblemOut(BaseModel):
    """An error, as RFC 9457 shapes it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FaultOut] | None = None
    trace_id: str | None = None


def example_instance(profile: ReferenceProfile) -> dict[str, Any]:
    """A row made of medians and most frequent categories: no row of the training data."""
    return {
        feature.name: feature.median
        if isinstance(feature, NumericFeature)
        else (feature.categories[0] if feature.categories else None)
        for feature in profile.features
    }


def request_model(profile: ReferenceProfile, max_rows: int) -> type[BaseModel]:
    """The request as a pydantic model, for OpenAPI; its example works as it stands."""
    fields: dict[str, Any] = {
        f"f{index}": (_type(feature), Field(alias=feature.name)) for index, feature in enumerate(profile.features)
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
