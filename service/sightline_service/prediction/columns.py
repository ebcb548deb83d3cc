"""Rows become columns once: float64 with NaN, raw values, and codes against the training vocabulary."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np

from sightline_service.errors import Fault, InvalidRowsError
from sightline_telemetry.model.counts import Codes, Floats
from sightline_telemetry.model.profile import CategoricalFeature, ReferenceProfile

_SHOWN_CHARS = 80

Value = str | float
"""What a categorical input may be: a string, or an integer, a float or a boolean where training had such categories."""


Rows = list[tuple[Any, ...]]
"""Rows as tuples, each of the numeric and then the categorical values, None where missing."""


class Columns:
    """Rows by feature, in the profile's order.

    numeric: (n_numeric, n_rows) float64, NaN where missing.
    raw: n_categorical lists of n_rows values, None where missing.
    codes: (n_categorical, n_rows) indices into the feature's labels.
    """

    __slots__ = ("_arrays",)

    def __init__(self, numeric: Floats, raw: tuple[Sequence[Value | None], ...], codes: Codes) -> None:
        self._arrays: Arrays | None = (numeric, raw, codes)

    @property
    def arrays(self) -> "Arrays":
        """What there is of each feature: numeric, raw and codes."""
        assert self._arrays is not None  # noqa: S101  # given, or made by those who have rows
        return self._arrays

    @property
    def numeric(self) -> Floats:
        """(n_numeric, n_rows)."""
        return self.arrays[0]

    @property
    def raw(self) -> tuple[Sequence[Value | None], ...]:
        """n_categorical lists of n_rows values."""
        return self.arrays[1]

    @property
    def codes(self) -> Codes:
        """(n_categorical, n_rows)."""
        return self.arrays[2]

    @property
    def rows(self) -> Rows:
        """The same by row."""
        numbers = [[None if value != value else value for value in values] for values in self.numeric.tolist()]
        return list(zip(*numbers, *self.raw, strict=True))

    def __len__(self) -> int:
        """How many rows there are."""
        return int(self.numeric.shape[1])

    @staticmethod
    def joined(parts: Sequence["Columns"]) -> "Columns":
        """The rows of several, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if isinstance(parts[0], RowColumns) and set(map(type, parts)) == {RowColumns}:
            return RowColumns(parts[0].builder, list(chain.from_iterable([part.rows for part in parts])))
        return Columns(
            np.concatenate([part.numeric for part in parts], axis=1),
            tuple(
                [value for values in column for value in values] for column in zip(*(p.raw for p in parts), strict=True)
            ),
            np.concatenate([part.codes for part in parts], axis=1),
        )


class RowColumns(Columns):
    """Columns that become arrays only if somebody asks for them: of a few rows nobody may."""

    __slots__ = ("_rows", "builder")

    def __init__(self, builder: "ColumnBuilder", rows: Rows) -> None:
        self.builder = builder
        self._rows = rows
        self._arrays = None

    @property
    def arrays(self) -> "Arrays":
        """Made when they are first asked for."""
        if self._arrays is None:
            self._arrays = self.builder.arrays(self._rows)
        return self._arrays

    @property
    def rows(self) -> Rows:
        """As they came."""
        return self._rows

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)


Arrays = tuple[Floats, tuple[Sequence[Value | None], ...], Codes]


class ColumnBuilder:
    """Turns rows, their values in the order of the profile's features, into columns."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self._n_numeric = len(profile.numeric)
        self._features = profile.categorical
        self._vocabularies = [feature.vocabulary() for feature in profile.categorical]
        self._strict = [
            (self._n_numeric + index, feature, vocabulary)
            for index, (feature, vocabulary) in enumerate(zip(self._features, self._vocabularies, strict=True))
            if not feature.accepts_unseen
        ]

    def build(self, rows: Rows) -> Columns:
        """The columns of some rows. Raises InvalidRowsError for a category that the model's encoder refuses."""
        for at, feature, vocabulary in self._strict:
            for index, row in enumerate(rows):
                if row[at] not in vocabulary:
                    self._refuse_unseen(feature, row[at], index)
        return RowColumns(self, rows)

    def arrays(self, rows: Rows) -> Arrays:
        """What `Columns` holds of some rows: numbers, raw categories, and their codes."""
        by_feature = list(zip(*rows, strict=True))
        numeric = np.array(by_feature[: self._n_numeric], dtype=np.float64).reshape(self._n_numeric, len(rows))
        raw = tuple(list(column) for column in by_feature[self._n_numeric :])
        return numeric, raw, self._coded(raw, len(rows))

    def assemble(self, numeric: Floats, raw: tuple[Sequence[Value | None], ...]) -> Columns:
        """The columns of what was sent by column, in the profile's order. Raises as `build` does."""
        columns = Columns(numeric, raw, self._coded(raw, numeric.shape[1]))
        for at, feature, vocabulary in self._strict:
            index = at - self._n_numeric
            rows = np.flatnonzero(columns.codes[index] == vocabulary[None] - 1)
            if len(rows):
                self._refuse_unseen(feature, raw[index][rows[0]], int(rows[0]))
        return columns

    def _coded(self, raw: tuple[Sequence[Value | None], ...], n_rows: int) -> Codes:
        codes = np.empty((len(raw), n_rows), dtype=np.intp)
        for index, (column, vocabulary) in enumerate(zip(raw, self._vocabularies, strict=True)):
            known = map(vocabulary.get, column, repeat(vocabulary[None] - 1))
            codes[index] = np.fromiter(known, np.intp, n_rows)
        return codes

    @staticmethod
    def _refuse_unseen(feature: CategoricalFeature, value: Value | None, row: int) -> None:
        shown = repr(value)[:_SHOWN_CHARS]
        what = f"the category {shown} was not in the training data, and this model's encoder refuses such"
        raise InvalidRowsError(f"row {row}: field {feature.name!r}: {what}", Fault(what, feature.name, row))


def category_values(feature: CategoricalFeature, categories: Sequence[str]) -> list[Value]:
    """The categories as the values that a client sends and the estimator sees."""
    return feature.values(categories)
