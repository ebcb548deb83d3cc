"""Reads a request body into rows, by readers derived from the bundle's profile."""

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from sightline_service.bodies.outline import WHOLE_BYTES, TooManyItemsError, TooManyValuesError, outline
from sightline_service.bodies.unreadable import UNREADABLE, not_json
from sightline_service.errors import BodyTooLargeError, BundleError, Fault, InvalidRowsError, shortened
from sightline_service.prediction.columns import RowValues
from sightline_telemetry.model.profile import CategoricalFeature, Feature, ReferenceProfile

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
Read = Callable[[bytes, int], RowValues]
"""Reads a body whose first row is the row with this number."""


def max_values(max_rows: int, n_features: int) -> int:
    """Returns how many values a body of so many rows may have; twice as many as the rows, for what stands beside."""
    return 2 * max_rows * (n_features + 1) + 1000


class InstanceReader:
    """Reads a request body into rows, checked against the profile; built once, used for every request.

    A row is read as a struct whose fields are f0, f1, ... in the order of `profile.features`, since a feature may have
    any name. A row without names has its values in the order of the training data.
    """

    def __init__(self, profile: ReferenceProfile, max_rows: int) -> None:
        self._max_rows = max_rows
        self._max_values = max_values(max_rows, len(profile.features))
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
        """Returns the rows of a body.

        Raises MalformedBodyError, BodyTooLargeError, or InvalidRowsError, which names field and row.
        """
        return self.in_pieces(body, self._read_whole) if len(body) > WHOLE_BYTES else self._read_whole(body)

    def read_rows(self, rows: msgspec.Raw, first_row: int = 0) -> RowValues:
        """Returns the rows of a list of objects, or of a list of lists; raises as `read` does."""
        if is_list_of_lists(rows):
            return list(map(self._sorted, map(astuple, self._decoded(self._decode_unnamed, rows, first_row))))
        return list(map(astuple, self._decoded(self._decode_named, rows, first_row)))

    def in_pieces(self, body: bytes, read: Read) -> RowValues:
        """Returns the rows of a large body, which are counted first, and then read piece by piece.

        read: reads the rows of a piece, which is a body like any other. Raises as `read` does.
        """
        try:
            found = outline(body, self._max_rows, self._max_values)
        except TooManyItemsError:
            raise self._invalid("Expected `array` of length <= - at `$.instances`") from None
        except TooManyValuesError:
            raise BodyTooLargeError(
                f"the body has more values than {self._max_rows} rows have; send them in several requests"
            ) from None
        rows: RowValues = []
        for piece in found.pieces(body):
            rows += read(piece, len(rows))
        return rows

    def _read_whole(self, body: bytes, first_row: int = 0) -> RowValues:
        return list(map(astuple, self._decoded(self._decode, body, first_row).instances))

    def _decoded(self, decode: Decode, data: bytes | msgspec.Raw, first_row: int) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise self._invalid(shortened(str(error)), first_row) from error
        except UNREADABLE as error:
            raise not_json(error, data) from error

    def _invalid(self, message: str, first_row: int = 0) -> InvalidRowsError:
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
        number = int(row) + first_row if row is not None else None
        place = "".join([f"row {number}: " if row is not None else "", f"field {field!r}: " if field else ""])
        fault = Fault(what, field, number)
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
