"""What a model said of some rows: arrays, or of a few rows lists, which become arrays only if somebody asks."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from sightline_telemetry.model.counts import Codes, Floats


class Prediction:
    """The predictions of some rows, as arrays.

    outcomes: (n_rows,) indices into the classes; None in regression.
    probabilities: (n_rows, n_classes); None from a model without them.
    values: (n_rows,) of a regression; otherwise None.
    marks: (n_steps + 1,) ns of the monotonic clock; a step of the pipeline worked from its mark to the next one.
    """

    __slots__ = ("_outputs", "marks")

    def __init__(self, outcomes: Codes | None, probabilities: Floats | None, values: Floats | None = None) -> None:
        self._outputs: tuple[Any, Any, Any] = outcomes, probabilities, values
        self.marks: tuple[int, ...] = ()

    @property
    def arrays(self) -> tuple[Codes | None, Floats | None, Floats | None]:
        """Outcomes, probabilities and values."""
        return self._outputs

    @property
    def outcomes(self) -> Codes | None:
        """(n_rows,)."""
        return self.arrays[0]

    @property
    def probabilities(self) -> Floats | None:
        """(n_rows, n_classes)."""
        return self.arrays[1]

    @property
    def values(self) -> Floats | None:
        """(n_rows,)."""
        return self.arrays[2]

    @property
    def lists(self) -> "Lists":
        """Outcomes, probabilities by row, and values, as lists; None where there is no array."""
        return tuple(None if array is None else array.tolist() for array in self.arrays)  # type: ignore[return-value]

    def codes(self) -> list[int]:
        """The outcomes as a list; empty in regression."""
        return [] if self.outcomes is None else self.outcomes.tolist()

    def part(self, start: int, stop: int) -> "Prediction":
        """The predictions of some of the rows."""
        part = type(self)(*(None if values is None else values[start:stop] for values in self._outputs))
        part.marks = self.marks
        return part

    def __len__(self) -> int:
        """How many rows there are."""
        outcomes, _, values = self._outputs
        return len(outcomes if outcomes is not None else values)

    @staticmethod
    def joined(parts: Sequence["Prediction"]) -> "Prediction":
        """The predictions of several, one after the other; lists are joined before they become arrays."""
        if len(parts) == 1:
            return parts[0]
        if set(map(type, parts)) == {FewPredictions}:
            lists = zip(*[part.lists for part in parts], strict=True)
            return FewPredictions(*(None if each[0] is None else list(chain.from_iterable(each)) for each in lists))
        arrays = zip(*(part.arrays for part in parts), strict=True)
        return Prediction(*(None if each[0] is None else np.concatenate(each) for each in arrays))


Lists = tuple[list[int] | None, list[Sequence[float]] | None, list[float] | None]


class FewPredictions(Prediction):
    """The predictions of a few rows, made and read without numpy, whose fixed cost is that of a small model."""

    __slots__ = ("_arrays",)

    def __init__(
        self, outcomes: list[int] | None, probabilities: list[Sequence[float]] | None, values: list[float] | None = None
    ) -> None:
        self._outputs = outcomes, probabilities, values
        self._arrays: tuple[Codes | None, Floats | None, Floats | None] | None = None
        self.marks = ()

    @property
    def arrays(self) -> tuple[Codes | None, Floats | None, Floats | None]:
        """Made when they are first asked for."""
        if self._arrays is None:
            outcomes, probabilities, values = self._outputs
            self._arrays = (
                None if outcomes is None else np.array(outcomes, dtype=np.intp),
                None if probabilities is None else _matrix(probabilities),
                None if values is None else np.array(values, dtype=np.float64),
            )
        return self._arrays

    @property
    def lists(self) -> Lists:
        """As they were made."""
        return self._outputs

    def codes(self) -> list[int]:
        """The outcomes as a list; empty in regression."""
        return self._outputs[0] or []


def _matrix(rows: list[Sequence[float]]) -> Floats:
    """(n_rows, n_columns); numpy reads one flat sequence more quickly than a list of rows."""
    return np.fromiter(chain.from_iterable(rows), np.float64).reshape(len(rows), -1)
