"""Lists and arrays say the same of a prediction, whole, in parts and joined."""

from typing import Any

import numpy as np
import pytest

from sightline_service.prediction.result import FewPredictions, Prediction

CLASSES = (
    FewPredictions([1, 0, 1], [(0.25, 0.75), (0.5, 0.5), (0.0, 1.0)]),
    Prediction(np.array([1, 0, 1]), np.array([[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]])),
)
VALUES = FewPredictions(None, None, [1.5, -2.0, 0.0]), Prediction(None, None, np.array([1.5, -2.0, 0.0]))


def said(prediction: Prediction) -> list[Any]:
    """Its arrays, as lists."""
    return [None if array is None else array.tolist() for array in prediction.arrays]


@pytest.mark.parametrize(("few", "many"), [CLASSES, VALUES])
def test_lists_say_what_arrays_say(few: Prediction, many: Prediction) -> None:
    """Rows, outcomes, parts and their times are the same, whichever they are made of."""
    few.marks = many.marks = (1, 2, 5)
    assert len(few) == len(many) == 3
    assert few.codes() == many.codes()
    assert said(few) == said(many)
    first, second = few.part(1, 3), many.part(1, 3)
    assert said(first) == said(second)
    assert (len(first), first.marks, second.marks) == (2, (1, 2, 5), (1, 2, 5))
    assert [list(map(list, each)) if each and isinstance(each[0], tuple) else each for each in few.lists] == list(
        many.lists
    )


@pytest.mark.parametrize(("few", "many"), [CLASSES, VALUES])
def test_joined_they_stand_one_after_the_other(few: Prediction, many: Prediction) -> None:
    """Lists, arrays and mixtures join to the same; one alone is not copied."""
    twice = [None if each is None else each + each for each in said(many)]
    for parts in ((few, few), (many, many), (few, many)):
        assert said(Prediction.joined(parts)) == twice
    assert isinstance(Prediction.joined((few, few)), FewPredictions)
    assert Prediction.joined((few,)) is few
    assert Prediction.joined((many,)) is many
