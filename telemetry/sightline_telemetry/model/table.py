"""Rows in any form that Python programs hold them in, read as named columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from narwhals.dependencies import is_pandas_dataframe, is_pandas_series
from numpy.typing import NDArray

FORMS = (
    "a DataFrame of pandas or polars, a pyarrow Table, a dict of columns, a list of dicts, or an array of "
    "(n_rows, n_columns)"
)


@dataclass(frozen=True, slots=True)
class Table:
    """Holds columns by name, n_rows values in each: Series of pandas or narwhals, or arrays."""

    columns: Mapping[str, Any]
    n_rows: int

    def parts(self, n_rows: int) -> Iterator[tuple[slice, "Table"]]:
        """Yields the rows in parts of n_rows at most, each with where it stands; none of a table without rows."""
        for first in range(0, self.n_rows, n_rows):
            part = slice(first, min(first + n_rows, self.n_rows))
            yield part, self if part == slice(0, self.n_rows) else self._cut(part)

    def _cut(self, part: slice) -> "Table":
        cut = {
            name: column.iloc[part] if hasattr(column, "iloc") else column[part]
            for name, column in self.columns.items()
        }
        return Table(cut, part.stop - part.start)


def read_table(data: Any, order: Sequence[str] | None = None, names: Sequence[str] | None = None) -> Table:
    """Reads the columns of data; of `order` alone, in that order, if it is given.

    data: a DataFrame of pandas or polars, a pyarrow Table, a dict of columns, a list of dicts (a key that is absent
    is a missing value), or an array. A two-dimensional array has its columns in the order of `names`, or else of
    `order`; a structured one has names of its own.
    Raises TypeError for data of another form, and ValueError for a column that is absent, there twice, not as long
    as the others, or not a column at all.

    >>> table = read_table([{"age": 41, "city": "Bern"}, {"age": 38}], ["city", "age"])
    >>> [column.tolist() for column in table.columns.values()]
    [['Bern', None], [41, 38]]
    """
    found = _find_columns(data, names or order)
    if order is not None and (absent := [name for name in order if name not in found]):
        has = ", ".join(map(repr, found))
        raise ValueError(f"the data lacks the columns {', '.join(map(repr, absent))}; it has {has}")
    columns = {name: found[name] for name in (found if order is None else order)}
    if isinstance(data, Mapping):
        columns = {name: _column(name, values) for name, values in columns.items()}
        n_rows = len(next(iter(columns.values()), ()))
    else:
        n_rows = len(data)
    for name, column in columns.items():
        if len(column.shape) != 1:
            raise ValueError(f"the column {name!r} is there twice, or has several values per row; one is read")
        if len(column) != n_rows:
            raise ValueError(f"the column {name!r} has {len(column)} values, and the first column {n_rows}")
    return Table(columns, n_rows)


def column_at(data: Any, position: int) -> Any:
    """Returns one column of data by its position, from a DataFrame of any library or (n_rows, n_columns) values."""
    if is_pandas_dataframe(data):
        return data.iloc[:, position]
    frame = nw.from_native(data, eager_only=True, pass_through=True)
    return frame[:, position] if isinstance(frame, nw.DataFrame) else np.asarray(data)[:, position]


def _find_columns(data: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """Returns all columns of data by name. names: those of an array, and of a list without rows."""
    if is_pandas_dataframe(data):
        return {str(label): data[label] for label in data.columns}
    frame = nw.from_native(data, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return {name: frame.get_column(name) for name in frame.columns}
    if isinstance(data, np.ndarray):
        return _find_columns_of_array(data, names)
    if isinstance(data, Mapping):
        return {str(label): values for label, values in data.items()}
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise TypeError(f"the data is a {type(data).__name__}; pass {FORMS}")
    for position, row in enumerate(data):
        if not isinstance(row, Mapping):
            raise TypeError(f"row {position} of the list is a {type(row).__name__}, not a dict; pass {FORMS}")
    labels = {str(label): label for row in data for label in row} if data else {name: name for name in names or ()}
    return {name: np.fromiter((row.get(labels[name]) for row in data), object, len(data)) for name in labels}


def _find_columns_of_array(data: NDArray[Any], names: Sequence[str] | None) -> dict[str, Any]:
    if data.dtype.names is not None:
        return {name: data[name] for name in data.dtype.names}
    if data.ndim != 2:
        raise ValueError(f"the array has the shape {data.shape}; pass (n_rows, n_columns)")
    known = [f"x{position}" for position in range(data.shape[1])] if names is None else list(names)
    if len(known) != data.shape[1]:
        raise ValueError(f"the array has {data.shape[1]} columns, and there are {len(known)} names: {', '.join(known)}")
    return dict(zip(known, data.T, strict=True))


def _column(name: str, values: Any) -> Any:
    if is_pandas_series(values) or isinstance(values, np.ndarray):
        return values
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return series
    if hasattr(values, "to_pylist"):  # a pyarrow Array
        values = values.to_pylist()
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise ValueError(f"the column {name!r} is {values!r}; give a sequence with one value per row")
    return np.fromiter(values, object, len(values))
