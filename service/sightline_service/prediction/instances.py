"""Reads a request body into rows, by readers derived from the bundle's profile."""

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from sightline_service.errors import BundleError, Fault, InvalidRowsError, MalformedBodyError, shortened
from sightline_service.prediction.columns import RowValues
from sightline_telemetry.model.profile import CategoricalFeature, Feature, ReferenceProfile

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, or not of the type that is read."""

_AT = re.compile(
    r"(?P<what>.*?)(?: - at `\$(?:\.(?P<top>[^.\[]+))?(?:\[(?P<row>\d+)\])?"
    r"(?:\[(?P<column>\d+)\])?(?:\.(?P<field>.*))?`)?",
    re.DOTALL,
)
_INSPECTED_BYTES = 64
"""Number of bytes inspected to detect a list of lists."""

_READABLE = re.compile(r'[^"\\\x00-\x1f\x7f]+')
_NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)


Decode = Callable[[bytes | msgspec.Raw], Any]


class InstanceReader:
    """Reads a request body into rows, checked against the profile; built once, used for every request.

    A row is read as a struct whose fields are f0, f1, ... in the order of `profile.features`, since a feature may have
    any name. A row without names has its values in the order of the training data.
    """

    def __init__(self, profile: ReferenceProfile, max_rows: int) -> None:
        self._max_rows = max_rows
        fields = {f"f{index}": feature for index, feature in enumerate(profile.features)}
        for feature in profile.features:
            if not _READABLE.fullmatch(feature.name):
                what = "a quote, a backslash or a control character, which the JSON reader does not allow in names"
                raise BundleError(f"the feature {feature.name!r} has {what}; rename the column and fit again")
        limits = msgspec.Meta(min_length=1, max_length=max_rows)
        typed = {feature.name: (field, json_type(feature)) for field, feature in fields.items()}
        named: Any = msgspec.defstruct(
            "Instance",
            list(typed.values()),
            rename={field: feature.name for field, feature in fields.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._order = profile.order
        names = [feature.name for feature in profile.features]
        self._sorted = _sorter([self._order.index(name) for name in names])
        unnamed: Any = msgspec.defstruct(
            "UnnamedInstance",
            [typed[name] for name in profile.order],
            array_like=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        body = msgspec.defstruct("Body", [("instances", Annotated[list[named], limits])], forbid_unknown_fields=True)
        self._decode = _decoder(body)
        self._decode_named = _decoder(Annotated[list[named], limits])
        self._decode_unnamed = _decoder(Annotated[list[unnamed], limits])

    def read(self, body: bytes) -> RowValues:
        """Returns the rows of a body. Raises MalformedBodyError or InvalidRowsError, which names field and row."""
        return list(map(astuple, self._decoded(self._decode, body).instances))

    def read_rows(self, rows: msgspec.Raw) -> RowValues:
        """Returns the rows of a list of objects, or of a list of lists; raises as `read` does."""
        if is_list_of_lists(rows):
            return list(map(self._sorted, map(astuple, self._decoded(self._decode_unnamed, rows))))
        return list(map(astuple, self._decoded(self._decode_named, rows)))

    def _decoded(self, decode: Decode, data: bytes | msgspec.Raw) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise self._invalid(shortened(str(error))) from error
        except UNREADABLE as error:
            raise MalformedBodyError(f"the body is not JSON: {error}") from error

    def _invalid(self, message: str) -> InvalidRowsError:
        match = _AT.fullmatch(message)
        what, top, row, column, field = (
            match.group("what", "top", "row", "column", "field") if match else (message, None, None, None, None)
        )
        if column is not None:
            field = self._order[int(column)]
        if named := _NAMED.fullmatch(what):
            field = named["field"]
        field = field or top
        if "of length <=" in what:
            what = f"more than {self._max_rows} rows; send them in several requests"
        place = "".join([f"row {row}: " if row is not None else "", f"field {field!r}: " if field else ""])
        fault = Fault(what, field, int(row) if row is not None else None)
        return InvalidRowsError(f"{place}{what}", fault)


def _decoder(kind: Any) -> Decode:
    return msgspec.json.Decoder(kind).decode


def _sorter(order: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Returns a function that puts the values of a row into another order."""
    if len(order) < 2:
        return tuple
    return itemgetter(*order)


def is_list_of_lists(data: msgspec.Raw) -> bool:
    """Returns True if the JSON begins with two brackets; a little white space between them is skipped."""
    return bytes(memoryview(data)[:_INSPECTED_BYTES]).translate(None, b" \t\r\n").startswith(b"[[")


def json_type(feature: Feature) -> Any:
    """Returns the Python type that a feature's JSON value is read as."""
    known: Any = str if isinstance(feature, CategoricalFeature) else float
    if isinstance(feature, CategoricalFeature) and feature.dtype in ("int64", "float64"):
        known = int | float
    if feature.dtype == "bool":
        known = bool | float
    return known | None if feature.accepts_missing else known
