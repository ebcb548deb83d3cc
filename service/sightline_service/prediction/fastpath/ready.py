"""Describes the columns that reach an estimator: one input and some arithmetic, a look-up, or a call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sightline_telemetry.model.histogram import Codes, Floats

Values = NDArray[Any]
Vocabulary = Mapping[Any, int]
"""Each known category of a feature, and None, -> its code."""

T = TypeVar("T")


Operation = Callable[[Values], Values]
"""Arithmetic on each value by itself; NaN is missing. Returns as many results as values."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Puts a value in the place of those that are missing."""

    value: Any

    def __call__(self, values: Values) -> Values:
        """Returns the values, none of them missing."""
        filled = values.copy()
        filled[pd.isna(values)] = self.value
        return filled


@dataclass(frozen=True, slots=True)
class IsMissing:
    """Gives 1 where a value is missing, 0 elsewhere."""

    def __call__(self, values: Values) -> Values:
        """Returns floats."""
        return np.asarray(pd.isna(values), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Applies a ufunc of numpy to each value and a number: adds it, divides by it, takes the smaller of both, ..."""

    ufunc: np.ufunc
    number: float

    def __call__(self, values: Values) -> Values:
        """Returns floats."""
        result: Values = self.ufunc(np.asarray(values, dtype=np.float64), self.number)
        return result


@dataclass(frozen=True, slots=True)
class Single:
    """Rounds to single precision, as the pipeline does where it was fitted on that."""

    def __call__(self, values: Values) -> Values:
        """Returns floats, infinite beyond single precision."""
        with np.errstate(over="ignore"):
            return values.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Numeric:
    """Describes a numeric input behind some operations.

    is_whole: the pipeline itself is given integers or booleans.
    """

    feature: int
    operations: tuple[Operation, ...] = ()
    is_whole: bool = False

    def then(self, operation: Operation) -> "Numeric":
        """Returns this column behind one more operation."""
        return replace(self, operations=(*self.operations, operation))

    def of(self, values: Floats) -> Floats:
        """Returns the column for (n_rows,) values of the input, NaN where missing."""
        for operation in self.operations:
            values = operation(values)
        return values

    @property
    def is_monotone(self) -> bool:
        """Returns True if a greater input never makes the column smaller."""
        steps = [each for each in self.operations if isinstance(each, Arithmetic)]
        return all(each.number > 0 for each in steps if each.ufunc in (np.multiply, np.divide))

    @property
    def is_affine(self) -> bool:
        """Returns True if the column is slope * input + intercept wherever the input is not missing."""
        return not any(
            isinstance(each, Single) or (isinstance(each, Arithmetic) and each.ufunc in (np.maximum, np.minimum))
            for each in self.operations
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """Describes a categorical input behind some operations and encoders: (n_codes,) one value per category."""

    feature: int
    values: Values

    def then(self, operation: Operation) -> "Lookup":
        """Returns this column behind one more operation."""
        return replace(self, values=operation(self.values))


@dataclass(frozen=True, slots=True)
class Call:
    """Calls a transformer on columns made ready for it."""

    transformer: Any
    columns: tuple["Column", ...]

    def of(self, numeric: Floats, codes: Codes) -> Floats:
        """Returns the outputs, (n_rows, n_outputs)."""
        made: Floats = call(self.transformer, "transform", assemble(self.columns, numeric, codes))
        return made


@dataclass(frozen=True, slots=True)
class Called:
    """Describes one column of what a transformer returns."""

    call: Call
    index: int
    operations: tuple[Operation, ...] = ()

    def then(self, operation: Operation) -> "Called":
        """Returns this column behind one more operation."""
        return replace(self, operations=(*self.operations, operation))


Column = Numeric | Lookup | Called


def assemble(columns: Sequence[Column], numeric: Floats, codes: Codes) -> Floats:
    """Returns the matrix (n_rows, n_columns) of some columns.

    numeric: (n_numeric, n_rows) with NaN where missing; codes: (n_categorical, n_rows) indices into look-ups.
    """
    n_rows = numeric.shape[1]
    ready = np.empty((n_rows, len(columns)))
    made: dict[int, Floats] = {}
    tables: dict[int, list[int]] = {}
    for index, column in enumerate(columns):
        if isinstance(column, Numeric):
            ready[:, index] = column.of(numeric[column.feature])
        elif isinstance(column, Lookup):
            tables.setdefault(column.feature, []).append(index)
        else:
            if id(column.call) not in made:
                made[id(column.call)] = column.call.of(numeric, codes)
            values = made[id(column.call)][:, column.index]
            for operation in column.operations:
                values = operation(values)
            ready[:, index] = values
    for feature, indices in tables.items():
        table = np.column_stack([np.asarray(columns[index].values, dtype=np.float64) for index in indices])  # type: ignore[union-attr]
        ready[:, indices] = table[codes[feature]]
    return ready


def call(estimator: Any, method: str, matrix: Floats) -> Any:
    """Calls a method of an estimator on a matrix, given as the frame that it was fitted on if it knows names."""
    names = getattr(estimator, "feature_names_in_", None)
    answer = getattr(estimator, method)(matrix if names is None else pd.DataFrame(matrix, columns=names))
    return answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)


def lookup(vocabulary: Vocabulary, of_code: Sequence[T]) -> tuple[Callable[[Any, T], T], T]:
    """Returns the look-up of what belongs to a known category or to None, and what belongs to all others."""
    return {value: of_code[code] for value, code in vocabulary.items()}.get, of_code[len(vocabulary)]
