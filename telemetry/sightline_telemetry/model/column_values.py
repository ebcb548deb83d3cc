"""One column as it is counted: float64 with NaN where a value is missing, or codes of a vocabulary.

A column is a Series of pandas, a narwhals Series (polars, Arrow), or a one-dimensional array. Those of pandas are
read by their own methods, which need no import of pandas here and copy nothing that is float64 already.
"""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
from narwhals.dependencies import is_pandas_series

from sightline_telemetry.model.histogram import Codes, Floats
from sightline_telemetry.model.profile import CategoryType, NumericType

_TYPE_OF_KIND: dict[str, CategoryType] = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}
_NUMERIC_KINDS = "biufOUS"
"""Kinds of numpy arrays that are read as numbers: objects and strings too, if each of them is one."""


def numbers(column: Any) -> Floats:
    """Returns (n_rows,) float64, NaN where missing; not copied if it is that already.

    Raises TypeError or ValueError if a value is not a number.

    >>> numbers(np.array([1, None, True], dtype=object)).tolist()
    [1.0, nan, 1.0]
    """
    if isinstance(column, nw.Series):
        if column.dtype.is_numeric() or column.dtype == nw.Boolean:
            return np.asarray(column.cast(nw.Float64).to_numpy())
        column = np.fromiter(column.to_list(), dtype=object, count=len(column))
    elif is_pandas_series(column):
        of_pandas: Floats = column.to_numpy(np.float64, na_value=np.nan)
        return of_pandas
    if column.dtype.kind not in _NUMERIC_KINDS:
        raise TypeError(f"values of type {column.dtype} are not numbers")
    if column.dtype == object:  # pandas' NA is in no way a float
        column = np.array([np.nan if is_missing(value) else value for value in column.tolist()], dtype=object)
    floats: Floats = column.astype(np.float64, copy=False)
    return floats


def first_that_is_no_number(column: Any) -> Any:
    """Returns the first value of a column that cannot be read as a number; None if there is none."""
    for value in _values(column):
        try:
            numbers(np.array([value], dtype=object))
        except (TypeError, ValueError):
            return value
    return None


def factorized(column: Any) -> tuple[Codes, list[Any]]:
    """Returns (n_rows,) positions in the list of the values that differ, and that list; -1 where a value is missing.

    Raises TypeError if a value cannot be hashed.

    >>> positions, found = factorized(np.array(["Rome", None, "Bern", "Rome"], dtype=object))
    >>> positions.tolist(), found
    ([0, -1, 1, 0], ['Rome', 'Bern'])
    """
    if not isinstance(column, nw.Series | np.ndarray):
        of_pandas, values = column.factorize()
        return of_pandas, values.tolist()
    if isinstance(column, np.ndarray) and column.dtype.kind in "biu":
        present, inverse = np.unique(column, return_inverse=True)
        return inverse, present.tolist()
    every, found = _values(column), list[Any]()
    code_of: dict[Any, int] = {}
    for value in dict.fromkeys(every):
        code_of[value] = -1 if is_missing(value) else len(found)
        if not is_missing(value):
            found.append(value)
    return np.fromiter(map(code_of.__getitem__, every), np.intp, len(every)), found


def category_codes(column: Any, vocabulary: Mapping[Any, int]) -> Codes:
    """Returns (n_rows,) codes of a feature's labels; each value is looked up once, however many rows have it.

    Raises TypeError if a value cannot be hashed.
    """
    missing = vocabulary[None]
    positions, found = factorized(column)  # -1 where missing, which indexes the last
    codes: Codes = np.array([vocabulary.get(each, missing - 1) for each in found] + [missing], dtype=np.intp)[positions]
    return codes


def words(column: Any) -> list[str | None]:
    """Returns the values of a column as strings, None where missing."""
    positions, found = factorized(column)
    known: list[str | None] = [*map(str, found), None]
    return [*map(known.__getitem__, positions.tolist())]


def is_missing(value: Any) -> bool:
    """Returns True for None, NaN, and what pandas has for them (NA, NaT)."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def value_type(column: Any) -> CategoryType | None:
    """Returns the type that all values of a column have; None if every value is missing and the column has no type.

    Integers among floats are floats. Raises ValueError for values of other types, and of several.
    """
    dtype = column.dtype
    if isinstance(column, nw.Series):
        is_string = dtype in (nw.String, nw.Categorical, nw.Enum)
        kind = "f" if dtype.is_float() or dtype.is_decimal() else "i" if dtype.is_integer() else ""
        kind = "b" if dtype == nw.Boolean else kind
    else:
        is_string, kind = type(dtype).__name__ == "StringDtype", dtype.kind
    if is_string:
        return "str"
    if kind in _TYPE_OF_KIND:
        return _TYPE_OF_KIND[kind]
    held = levels(column)
    types = {_type_of(value) for value in (factorized(column)[1] if held is None else held)}
    if types <= {"int64", "float64"}:
        return "float64" if "float64" in types else "int64" if types else None
    if len(types) > 1:
        raise ValueError(f"holds values of several types ({', '.join(sorted(types))})")
    return types.pop()  # type: ignore[return-value]  # checked by _type_of


def levels(column: Any) -> list[Any] | None:
    """Returns the categories of a pandas column of dtype `category`, in pandas' own order; None for other columns."""
    if type(column.dtype).__name__ != "CategoricalDtype":
        return None
    known: list[Any] = column.cat.categories.tolist()
    return known


def numeric_type(column: Any, held: CategoryType | None) -> NumericType:
    """Returns the type of a numeric column; held: the type of its values. Numbers in a column of objects are floats."""
    dtype = column.dtype
    if held == "bool":
        return "bool"
    if isinstance(column, nw.Series):
        return "int64" if dtype.is_integer() else "float32" if dtype == nw.Float32 else "float64"
    return "int64" if dtype.kind in "iu" else "float32" if dtype == np.float32 else "float64"


def _type_of(value: Any) -> str:
    """Decimals are read as floats. Raises ValueError for what is neither a number, a boolean nor a string."""
    match value:
        case bool() | np.bool_():
            return "bool"
        case int() | np.integer():
            return "int64"
        case str():
            return "str"
    if isinstance(value, float | np.floating) or type(value).__name__ == "Decimal":
        return "float64"
    raise ValueError(f"holds {value!r}, of type {type(value).__name__}")


def _values(column: Any) -> list[Any]:
    values: list[Any] = column.to_list() if isinstance(column, nw.Series) else column.tolist()
    return values
