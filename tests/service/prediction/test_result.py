"""Predictions as lists and predictions as arrays hold the same, whole, in parts and joined."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import astuple

from sightline_service.prediction.result import (
    ArrayPrediction,
    ListPrediction,
    OutputArrays,
    OutputLists,
    Prediction,
    join_predictions,
)

MARKS = (1, 2, 5)
PROBABILITIES = [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]]
CLASSES = (
    ListPrediction(OutputLists([1, 0, 1], [tuple(row) for row in PROBABILITIES]), MARKS),
    ArrayPrediction(OutputArrays(np.array([1, 0, 1]), np.array(PROBABILITIES)), MARKS),
)
VALUES = (
    ListPrediction(OutputLists(None, None, [1.5, -2.0, 0.0]), MARKS),
    ArrayPrediction(OutputArrays(None, None, np.array([1.5, -2.0, 0.0])), MARKS),
)


def as_lists(prediction: Prediction) -> list[Any]:
    """The arrays of a prediction, converted to lists."""
    return [None if array is None else array.tolist() for array in prediction.arrays]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("few", "many"), [CLASSES, VALUES])
def test_lists_and_arrays_hold_the_same(few: Prediction, many: Prediction) -> None:
    """The number of rows, outcomes, parts and marks do not depend on how a prediction is kept."""
    assert len(few) == len(many) == 3
    assert few.outcome_list() == many.outcome_list()
    assert as_lists(few) == as_lists(many)
    first, second = few.part(1, 3), many.part(1, 3)
    assert as_lists(first) == as_lists(second)
    assert (len(first), first.marks, second.marks) == (2, MARKS, MARKS)
    assert as_lists(few) == [each and [*map(_plain, each)] for each in astuple(many.lists)]
    assert as_lists(many) == [each and [*map(_plain, each)] for each in astuple(few.lists)]


@pytest.mark.parametrize(("few", "many"), [CLASSES, VALUES])
def test_joined_predictions_stand_in_the_order_of_their_parts(few: Prediction, many: Prediction) -> None:
    """Lists, arrays and mixtures of both join to the same; a single part is not copied."""
    twice = [None if each is None else each + each for each in as_lists(many)]
    for parts in ((few, few), (many, many), (few, many)):
        assert as_lists(join_predictions(parts)) == twice
        assert join_predictions(parts).marks == MARKS
    assert isinstance(join_predictions((few, few)), ListPrediction)
    assert join_predictions((few,)) is few
    assert join_predictions((many,)) is many
