"""Labels, as clients may spell them, become numbers or are refused."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from sightline_service.feedback.ledger import Ledger
from sightline_service.feedback.prediction_ids import PredictionIds, SigningKeys
from sightline_service.feedback.reader import LabelReader, actual_of
from sightline_service.prediction.result import ArrayPrediction, OutputArrays
from sightline_telemetry.instruments import FEEDBACK_ERROR
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel

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
    """A class may be sent as its name or, if it is a number or a boolean, as such; nothing else is guessed."""
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
    """In regression a label is a finite number that does not outweigh all others in the mean error."""
    assert actual_of(JudgedModel(ID, (), has_probabilities=False), actual) == expected


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e200])
def test_a_prediction_that_is_not_finite_is_not_judged(value: float, tmp_path: Path) -> None:
    """A label of a prediction that overflowed is refused, as its error would stay in the sums for ever."""
    model, keys = JudgedModel(ID, (), has_probabilities=False), SigningKeys(["the secret of this test"])
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", model, 86_400.0)
    ledger.open()
    ids = PredictionIds(keys, model).make(ArrayPrediction(OutputArrays(None, None, np.array([value, 2.0])), ()))
    body = {"labels": [{"prediction_id": prediction_id, "actual": 1.5} for prediction_id in ids]}
    assert LabelReader(keys, ledger, 10).record(msgspec.json.encode(body)) == ["unknown_outcome", "accepted"]
    assert sum(snapshot.sum for _, snapshot in ledger.quality().snapshots(FEEDBACK_ERROR)) == 0.5
    ledger.close()
