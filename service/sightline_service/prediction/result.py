"""Holds the predictions of a model for some rows: as arrays, or for a few rows as lists, without numpy."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec.structs import astuple

from sightline_telemetry.model.histogram import Codes, Floats


class OutputArrays(NamedTuple):
    """Holds the outputs of a model for some rows.

    outcomes: (n_rows,) indices into the classes; None in regression.
    probabilities: (n_rows, n_classes); None from a model without them.
    values: (n_rows,) of a regression; otherwise None.
    """

    outcomes: Codes | None
    probabilities: Floats | None
    values: Floats | None = None


class OutputLists(msgspec.Struct, gc=False):
    """Holds the same outputs as lists, probabilities by row; a struct costs a third of a named tuple per request."""

    outcomes: list[int] | None
    probabilities: list[Sequence[float]] | None
    values: list[float] | None = None


class Prediction(Protocol):
    """Holds the predictions of some rows, readable as arrays and as lists.

    marks: (n_steps + 1,) ns of the monotonic clock; a step of the pipeline worked from its mark to the next one.
    """

    @property
    def marks(self) -> tuple[int, ...]:
        """Returns when each step began, and when the last one ended."""
        ...

    @property
    def arrays(self) -> OutputArrays:
        """Returns the outputs as arrays."""
        ...

    @property
    def lists(self) -> OutputLists:
        """Returns the outputs as lists."""
        ...

    def outcome_list(self) -> list[int]:
        """Returns the outcomes; an empty list in regression."""
        ...

    def part(self, start: int, stop: int) -> "Prediction":
        """Returns the predictions of the rows from start to stop."""
        ...

    def __len__(self) -> int:
        """Returns the number of rows."""
        ...


class ArrayPrediction:
    """Holds predictions made with numpy."""

    __slots__ = ("arrays", "marks")

    def __init__(self, arrays: OutputArrays, marks: tuple[int, ...]) -> None:
        self.arrays = arrays
        self.marks = marks

    @property
    def lists(self) -> OutputLists:
        """Returns the outputs as lists, converted on each access."""
        return OutputLists(*(None if array is None else array.tolist() for array in self.arrays))

    def outcome_list(self) -> list[int]:
        """Returns the outcomes; an empty list in regression."""
        outcomes = self.arrays.outcomes
        return [] if outcomes is None else outcomes.tolist()

    def part(self, start: int, stop: int) -> "ArrayPrediction":
        """Returns the predictions of the rows from start to stop."""
        return ArrayPrediction(OutputArrays(*_cut(self.arrays, start, stop)), self.marks)

    def __len__(self) -> int:
        """Returns the number of rows."""
        outcomes, _, values = self.arrays
        return len(outcomes if outcomes is not None else values)  # type: ignore[arg-type]  # one of them is there


class ListPrediction(msgspec.Struct, gc=False):
    """Holds predictions of a few rows, made and read without numpy, whose fixed cost is that of a small model."""

    lists: OutputLists
    marks: tuple[int, ...]

    @property
    def arrays(self) -> OutputArrays:
        """Returns the outputs as arrays, converted on each access."""
        outcomes, probabilities, values = astuple(self.lists)
        return OutputArrays(
            None if outcomes is None else np.array(outcomes, dtype=np.intp),
            None if probabilities is None else _matrix(probabilities),
            None if values is None else np.array(values, dtype=np.float64),
        )

    def outcome_list(self) -> list[int]:
        """Returns the outcomes; an empty list in regression."""
        return self.lists.outcomes or []

    def part(self, start: int, stop: int) -> "ListPrediction":
        """Returns the predictions of the rows from start to stop."""
        return ListPrediction(OutputLists(*_cut(astuple(self.lists), start, stop)), self.marks)

    def __len__(self) -> int:
        """Returns the number of rows."""
        outcomes = self.lists.outcomes
        return len(outcomes if outcomes is not None else self.lists.values)  # type: ignore[arg-type]  # as above


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """Returns the predictions of all parts in their order; lists are joined before they are converted to arrays.

    The marks are those of the first part.
    """
    if len(parts) == 1:
        return parts[0]
    marks = parts[0].marks
    few = [astuple(part.lists) for part in parts if isinstance(part, ListPrediction)]
    if len(few) == len(parts):
        lists = zip(*few, strict=True)
        return ListPrediction(
            OutputLists(*(None if each[0] is None else list(chain.from_iterable(each)) for each in lists)), marks
        )
    arrays = zip(*[part.arrays for part in parts], strict=True)
    return ArrayPrediction(OutputArrays(*(None if each[0] is None else np.concatenate(each) for each in arrays)), marks)


def _cut(outputs: tuple[Any, ...], start: int, stop: int) -> Iterator[Any]:
    return (None if each is None else each[start:stop] for each in outputs)


def _matrix(rows: list[Sequence[float]]) -> Floats:
    """(n_rows, n_columns); numpy reads one flat sequence more quickly than a list of rows."""
    return np.fromiter(chain.from_iterable(rows), np.float64).reshape(len(rows), -1)
