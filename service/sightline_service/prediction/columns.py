"""The values of a request by feature: float64 with NaN, raw categories, and codes against the training vocabulary."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol

import numpy as np

from sightline_service.errors import Fault, InvalidRowsError
from sightline_telemetry.model.histogram import Codes, Floats
from sightline_telemetry.model.profile import CategoricalFeature, ReferenceProfile

_SHOWN_CHARS = 80

UNSEEN_WORD = "a category that no training data has"

Value = str | float
"""The type of a categorical value: a string, or an integer, a float or a boolean where training had such categories."""

RowValues = list[tuple[Any, ...]]
"""One tuple per row: first the numeric, then the categorical values, None where missing."""


class ColumnArrays(NamedTuple):
    """Holds the values of some rows by feature, in the profile's order.

    numeric: (n_numeric, n_rows) float64, NaN where missing.
    raw: n_categorical lists of n_rows values, None where missing.
    codes: (n_categorical, n_rows) indices into the feature's labels.
    """

    numeric: Floats
    raw: tuple[Sequence[Value | None], ...]
    codes: Codes


class Columns(Protocol):
    """Holds the values of some rows, readable by feature and by row."""

    @property
    def arrays(self) -> ColumnArrays:
        """Returns the values by feature."""
        ...

    @property
    def rows(self) -> RowValues:
        """Returns the values by row."""
        ...

    def __len__(self) -> int:
        """Returns the number of rows."""
        ...


class ArrayColumns:
    """Holds values that came by feature, as tensors do."""

    __slots__ = ("arrays",)

    def __init__(self, arrays: ColumnArrays) -> None:
        self.arrays = arrays

    @property
    def rows(self) -> RowValues:
        """Returns the values by row, converted on each access."""
        numbers = [[None if value != value else value for value in values] for values in self.arrays.numeric.tolist()]
        return list(zip(*numbers, *self.arrays.raw, strict=True))

    def __len__(self) -> int:
        """Returns the number of rows."""
        return int(self.arrays.numeric.shape[1])


class RowColumns:
    """Holds values that came by row, converted to arrays lazily: small requests are often answered without arrays."""

    __slots__ = ("_arrays", "builder", "rows")

    def __init__(self, builder: "ColumnBuilder", rows: RowValues) -> None:
        self.builder = builder
        self.rows = rows
        self._arrays: ColumnArrays | None = None

    @property
    def arrays(self) -> ColumnArrays:
        """Returns the values by feature, converted on the first access."""
        if self._arrays is None:
            self._arrays = self.builder.arrays(self.rows)
        return self._arrays

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.rows)


def join_columns(parts: Sequence[Columns]) -> Columns:
    """Returns the rows of all parts in their order; rows are joined before they are converted to arrays."""
    if len(parts) == 1:
        return parts[0]
    by_row = [part for part in parts if isinstance(part, RowColumns)]
    if len(by_row) == len(parts):
        return RowColumns(by_row[0].builder, list(chain.from_iterable([part.rows for part in by_row])))
    numeric, raw, codes = zip(*[part.arrays for part in parts], strict=True)
    joined_raw = tuple(list(chain.from_iterable(column)) for column in zip(*raw, strict=True))
    return ArrayColumns(ColumnArrays(np.concatenate(numeric, axis=1), joined_raw, np.concatenate(codes, axis=1)))


class ColumnBuilder:
    """Makes columns of rows whose values stand in the order of the profile's features, or of values by feature."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self._n_numeric = len(profile.numeric)
        self._features = profile.categorical
        self._vocabularies = [feature.vocabulary() for feature in profile.categorical]
        self._strict = [
            (self._n_numeric + index, feature, vocabulary)
            for index, (feature, vocabulary) in enumerate(zip(self._features, self._vocabularies, strict=True))
            if not feature.accepts_unseen
        ]

    def build(self, rows: RowValues) -> Columns:
        """Returns the columns of some rows. Raises InvalidRowsError for a category that the model's encoder refuses."""
        for at, feature, vocabulary in self._strict:
            for index, row in enumerate(rows):
                if row[at] not in vocabulary:
                    raise _unseen_error(feature, row[at], index)
        return RowColumns(self, rows)

    def arrays(self, rows: RowValues) -> ColumnArrays:
        """Returns some rows by feature."""
        by_feature = list(zip(*rows, strict=True))
        numeric = np.array(by_feature[: self._n_numeric], dtype=np.float64).reshape(self._n_numeric, len(rows))
        raw = tuple(list(column) for column in by_feature[self._n_numeric :])
        return ColumnArrays(numeric, raw, self._coded(raw, len(rows)))

    def assemble(self, numeric: Floats, raw: tuple[Sequence[Value | None], ...]) -> Columns:
        """Returns the columns of values that came by feature, in the profile's order. Raises as `build` does."""
        arrays = ColumnArrays(numeric, raw, self._coded(raw, numeric.shape[1]))
        for at, feature, vocabulary in self._strict:
            index = at - self._n_numeric
            rows = np.flatnonzero(arrays.codes[index] == vocabulary[None] - 1)
            if len(rows):
                raise _unseen_error(feature, raw[index][rows[0]], int(rows[0]))
        return ArrayColumns(arrays)

    def _coded(self, raw: tuple[Sequence[Value | None], ...], n_rows: int) -> Codes:
        codes = np.empty((len(raw), n_rows), dtype=np.intp)
        for index, (column, vocabulary) in enumerate(zip(raw, self._vocabularies, strict=True)):
            known = map(vocabulary.get, column, repeat(vocabulary[None] - 1))
            codes[index] = np.fromiter(known, np.intp, n_rows)
        return codes


def _unseen_error(feature: CategoricalFeature, value: Value | None, row: int) -> InvalidRowsError:
    shown = repr(value)[:_SHOWN_CHARS]
    what = f"the category {shown} was not in the training data, and this model's encoder refuses unseen categories"
    return InvalidRowsError(f"row {row}: field {feature.name!r}: {what}", Fault(what, feature.name, row))


def unseen_value(feature: CategoricalFeature) -> Value:
    """Returns a value that is no category of a feature; of a boolean feature that has both, False."""
    known = set(feature.values((*feature.categories, *feature.others)))
    if feature.dtype == "str":
        return UNSEEN_WORD
    if feature.dtype == "bool":
        return next((value for value in (False, True) if value not in known), False)
    return max(known, default=0) + 1
