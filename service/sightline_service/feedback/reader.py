"""Reads a body of labels: verifies the ids, looks the values up, and hands the labels to the ledger."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from sightline_service.bodies.outline import WHOLE_BYTES, TooMuchError, outline
from sightline_service.bodies.unreadable import UNREADABLE, not_json
from sightline_service.errors import InvalidRowsError, TooManyLabelsError, shortened
from sightline_service.feedback.ledger import Ledger
from sightline_service.feedback.prediction_ids import SignedPrediction, SigningKeys
from sightline_service.feedback.verdicts import Label
from sightline_telemetry.model.histogram import SUMMABLE
from sightline_telemetry.model.quality import JudgedModel

_IN_PARTS = "send the rest in another"


class _Label(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prediction_id: str
    actual: str | float | int | bool | None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[_Label]


class LabelReader:
    """Reads bodies of labels and records them. Runs in the ledger's thread, as reading 10,000 labels takes long too."""

    def __init__(self, keys: SigningKeys, ledger: Ledger, max_labels: int) -> None:
        self._keys = keys
        self._ledger = ledger
        self._max_labels = max_labels
        self._decode = msgspec.json.Decoder(_Body).decode

    def record(self, body: bytes) -> list[str]:
        """Returns one word per label, in their order: `accepted`, `corrected`, or why it is not counted.

        Raises MalformedBodyError, InvalidRowsError, TooManyLabelsError or LedgerDownError; nothing is counted then.
        """
        labels = self._read(body)
        predictions = [self._keys.read(label.prediction_id) for label in labels]
        models = self._ledger.models({each.model for each in predictions if each is not None})
        read = [_label(label, prediction, models) for label, prediction in zip(labels, predictions, strict=True)]
        refused = [each for each in read if isinstance(each, str)]
        verdicts = iter(self._ledger.record([each for each in read if isinstance(each, Label)], Counter(refused)))
        return [each if isinstance(each, str) else next(verdicts) for each in read]

    def _read(self, body: bytes) -> list[_Label]:
        if len(body) > WHOLE_BYTES:
            try:
                outline(
                    body, self._max_labels, 4 * self._max_labels
                )  # a label has three values, or four if one repeats
            except TooMuchError:
                raise TooManyLabelsError(f"the body has more than {self._max_labels} labels; {_IN_PARTS}") from None
        try:
            labels = self._decode(body).labels
        except msgspec.ValidationError as error:
            raise InvalidRowsError(f"the body is not a list of labels: {shortened(str(error))}") from error
        except UNREADABLE as error:
            raise not_json(error, body) from error
        if len(labels) > self._max_labels:
            raise TooManyLabelsError(
                f"the body has {len(labels)} labels; at most {self._max_labels} are taken, {_IN_PARTS}"
            )
        return labels


def _label(label: _Label, prediction: SignedPrediction | None, models: Mapping[bytes, JudgedModel]) -> Label | str:
    if prediction is None:
        return "forged"
    model = models.get(prediction.model)
    if model is None:
        return "unknown_model"
    if not all(abs(score) < SUMMABLE for score in prediction.scores):
        return "unknown_outcome"  # a prediction that was not a number has no error, and its nan would stay in the sums
    actual = actual_of(model, label.actual)
    return "unknown_outcome" if actual is None else Label(prediction, model, actual)


def actual_of(model: JudgedModel, actual: object) -> float | None:
    """Returns the label as a number: an index into the outcomes, or in regression the value; None if it is neither.

    Classes that are numbers may be sent as numbers or as strings, because in answers their names are strings.
    """
    if not model.outcomes:
        is_number = isinstance(actual, int | float) and not isinstance(actual, bool)
        # A single larger value would outweigh all others in the mean error.
        return float(actual) if is_number and abs(actual) < SUMMABLE else None  # type: ignore[arg-type]
    codes = _codes(model)
    if isinstance(actual, str):
        return codes.get(actual)
    if isinstance(actual, bool):
        return codes.get(str(actual))
    if not isinstance(actual, int | float) or not abs(actual) < SUMMABLE:
        return None
    spelt = [str(actual), str(float(actual))] + ([str(int(actual))] if actual == int(actual) else [])
    return next((codes[text] for text in spelt if text in codes), None)


@lru_cache(maxsize=64)
def _codes(model: JudgedModel) -> dict[str, int]:
    return {outcome: code for code, outcome in enumerate(model.outcomes)}
