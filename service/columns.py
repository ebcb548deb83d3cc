"""Rows become columns once: float64 with NaN, raw values, and codes against the training vocabulary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np

from service.errors import Fault, InvalidRowsError
from telemetry.counts import Codes, Floats
from telemetry.profile import CategoricalFeature, Feature, ReferenceProfile

_SHOWN_CHARS = 80

Value = str | float
"""What a categorical input may be: a string, or an integer, a float or a boolean where training had such categories."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows by feature, in the profile's order.

    numeric: (n_numeric, n_rows) float64, NaN where missing.
    raw: n_categorical lists of n_rows values, None where missing.
    codes: (n_categorical, n_rows) indices into the feature's labels.
    """

    numeric: Floats
    raw: tuple[Sequence[Value | None], ...]
    codes: Codes

    def __len__(self) -> int:
        """How many rows there are."""
        return int(self.numeric.shape[1])

    @staticmethod
    def joined(parts: Sequence["Columns"]) -> "Columns":
        """The rows of several, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Columns(
            np.concatenate([part.numeric for part in parts], axis=1),
            tuple(
                [value for values in column for value in values] for column in zip(*(p.raw for p in parts), strict=True)
            ),
            np.concatenate([part.codes for part in parts], axis=1),
        )


class ColumnBuilder:
    """Turns the reader's structs into columns; fields maps a struct's field names to features, in their order."""

    def __init__(self, profile: ReferenceProfile, fields: Mapping[str, Feature]) -> None:
        numeric = [field for field, feature in fields.items() if not isinstance(feature, CategoricalFeature)]
        categorical = [field for field, feature in fields.items() if isinstance(feature, CategoricalFeature)]
        self._numbers = _row_getter(numeric)
        self._strings = [attrgetter(field) for field in categorical]
        self._n_numeric = len(numeric)
        self._features = profile.categorical
        self._vocabularies = [feature.vocabulary() for feature in profile.categorical]

    def build(self, instances: Sequence[Any]) -> Columns:
        """The columns of some rows. Raises InvalidRowsError for a category that the model's encoder refuses."""
        numbers = np.array(list(map(self._numbers, instances)), dtype=np.float64)
        raw = tuple(list(map(getter, instances)) for getter in self._strings)
        return self.assemble(np.ascontiguousarray(numbers.reshape(len(instances), self._n_numeric).T), raw)

    def assemble(self, numeric: Floats, raw: tuple[Sequence[Value | None], ...]) -> Columns:
        """The columns of what was sent by column, in the profile's order. Raises as `build` does."""
        codes = np.empty((len(raw), numeric.shape[1]), dtype=np.intp)
        for index, (column, vocabulary) in enumerate(zip(raw, self._vocabularies, strict=True)):
            unseen = vocabulary[None] - 1
            codes[index] = list(map(vocabulary.get, column, repeat(unseen)))
            if not self._features[index].accepts_unseen:
                self._refuse_unseen(self._features[index], column, codes[index], unseen)
        return Columns(numeric, raw, codes)

    @staticmethod
    def _refuse_unseen(feature: CategoricalFeature, column: Sequence[Value | None], codes: Codes, unseen: int) -> None:
        rows = np.flatnonzero(codes == unseen)
        if not len(rows):
            return
        row = int(rows[0])
        shown = repr(column[row])[:_SHOWN_CHARS]
        what = f"the category {shown} was not in the training data, and this model's encoder refuses such"
        raise InvalidRowsError(f"row {row}: field {feature.name!r}: {what}", Fault(what, feature.name, row))


def category_values(feature: CategoricalFeature, categories: Sequence[str]) -> list[Value]:
    """The categories as the values that a client sends and the estimator sees."""
    return feature.values(categories)


def _row_getter(fields: list[str]) -> Callable[[Any], tuple[float | None, ...]]:
    if len(fields) > 1:
        return attrgetter(*fields)
    if fields:
        only = attrgetter(fields[0])
        return lambda row: (only(row),)
    return lambda _: ()
