"""Predictions as the JSON objects of a response: one per row, the same in every protocol that answers in objects."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from sightline_service.prediction.result import Prediction


class RowWriter:
    """Makes one object per row: its id, and a value, or an outcome and, where there are any, probabilities.

    The objects are msgspec structs, which are made and encoded more quickly than dictionaries.
    """

    def __init__(self, outcomes: tuple[str, ...]) -> None:
        self._outcomes = outcomes
        self._row: Any = _struct("Row", ("prediction_id", "outcome", "probabilities"))
        self._bare_row: Any = _struct("BareRow", ("prediction_id", "outcome"))
        self._value: Any = _struct("Value", ("prediction_id", "value"))
        self._probabilities: Callable[..., Any]
        try:
            self._probabilities = _struct("Probabilities", outcomes)
        except ValueError:  # a name that would have to be escaped
            self._probabilities = partial(_named, outcomes)

    def objects(self, prediction: Prediction, ids: Sequence[str]) -> list[Any]:
        """Returns one object per row, to be encoded by msgspec; a number that is not finite becomes null."""
        outcomes, row, probabilities_of = self._outcomes, self._row, self._probabilities
        lists = prediction.lists
        codes, probabilities = lists.outcomes, lists.probabilities
        if codes is None:
            return list(map(self._value, ids, lists.values or ()))
        if probabilities is None:
            return [self._bare_row(i, outcomes[code]) for i, code in zip(ids, codes, strict=True)]
        return [
            row(i, outcomes[code], probabilities_of(*each))
            for i, code, each in zip(ids, codes, probabilities, strict=True)
        ]


def _struct(name: str, names: Sequence[str]) -> Any:
    """Makes a struct whose fields f0, f1, ... are written under any names."""
    fields = [f"f{index}" for index in range(len(names))]
    return msgspec.defstruct(name, fields, rename=dict(zip(fields, names, strict=True)), gc=False)


def _named(outcomes: Sequence[str], *probabilities: float) -> dict[str, float]:
    return dict(zip(outcomes, probabilities, strict=True))
