"""What was true, as clients may spell it."""

import pytest

from service.labels import actual_of
from telemetry.quality import JudgedModel
from telemetry.recorder import ModelId

ID = ModelId("m", "1")


@pytest.mark.parametrize(
    ("outcomes", "actual", "expected"),
    [
        (("no", "yes"), "yes", 1),
        (("no", "yes"), "YES", None),
        (("0", "1"), 1, 1),
        (("0", "1"), "1", 1),
        (("0", "1"), 1.0, 1),
        (("0", "1"), 0.5, None),
        (("0", "1"), True, None),
        (("0.0", "1.0"), 1, 1),
        (("0.0", "1.0"), 1.0, 1),
        (("0.5", "1.5"), 1.5, 1),
        (("-1", "1"), -1, 0),
        (("False", "True"), True, 1),
        (("False", "True"), "True", 1),
        (("False", "True"), 1, None),
        (("0", "1"), None, None),
        (("0", "1"), [1], None),
        (("0", "1"), {"1": 1}, None),
        (("0", "1"), 10**400, None),
        (("0", "1"), float("nan"), None),
        (("0", "1"), float("inf"), None),
    ],
)
def test_classes(outcomes: tuple[str, ...], actual: object, expected: int | None) -> None:
    """A class may come as its name or, if it is a number or a boolean, as that; nothing else is guessed."""
    assert actual_of(JudgedModel(ID, outcomes, has_probabilities=True), actual) == expected


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (3, 3.0),
        (-2.5, -2.5),
        (0, 0.0),
        ("3", None),
        (True, None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e200, None),
        (10**400, None),
    ],
)
def test_values(actual: object, expected: float | None) -> None:
    """A value of a regression is a finite number, and none so large that it would be all of the mean error."""
    assert actual_of(JudgedModel(ID, (), has_probabilities=False), actual) == expected
