"""Prediction ids return what was signed into them, and other texts are not ids."""

import logging
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from string import ascii_letters, digits

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sightline_service.feedback.prediction_ids
from sightline_service.errors import SettingsError
from sightline_service.feedback.prediction_ids import (
    SCORED_CLASSES,
    PredictionIds,
    SigningKeys,
    fingerprint,
    load_secrets,
    probabilities_of,
)
from sightline_service.prediction.result import ArrayPrediction, OutputArrays, Prediction
from sightline_telemetry.model.histogram import Codes, Floats
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel

KEYS = SigningKeys(["the secret of this test"])
OTHER_KEYS = SigningKeys(["another secret of this test"])
ALPHABET = f"{ascii_letters}{digits}-_"
PROBABILITY = st.floats(0, 1)
VALUE = st.floats(allow_nan=False)


def model_of(n_classes: int, *, has_probabilities: bool = True) -> JudgedModel:
    """Returns a model with so many classes; with 0 it is a regression."""
    return JudgedModel(ModelId("m", "1"), tuple(f"c{k}" for k in range(n_classes)), has_probabilities)


def classified(probabilities: Floats) -> Prediction:
    """Returns predictions of the most probable classes."""
    return ArrayPrediction(OutputArrays(probabilities.argmax(axis=1), probabilities), ())


def rows_of(n_classes: int) -> st.SearchStrategy[Floats]:
    """Returns (n_rows, n_classes) probabilities that add up to 1 as well as floats can."""
    weights = st.lists(st.floats(0, 1e6), min_size=n_classes, max_size=n_classes).filter(lambda row: sum(row) > 1e-3)
    return st.lists(weights, min_size=1, max_size=5).map(
        lambda rows: np.array([np.array(row) / sum(row) for row in rows])
    )


def read_back(ids: list[str], n_classes: int) -> tuple[Codes, Floats | None]:
    """Returns the outcomes and probabilities in the ids."""
    read = [KEYS.read(each) for each in ids]
    assert all(each is not None and each.model == fingerprint(model_of(n_classes)) for each in read)
    scores = np.array([each.scores for each in read if each is not None])
    return np.array([each.outcome for each in read if each is not None]), probabilities_of(scores, n_classes)


@given(rows=st.integers(3, 8).flatmap(rows_of))
def test_several_classes_come_back_bit_by_bit(rows: Floats) -> None:
    """Outcome and every probability of a multiclass prediction come back as they were."""
    n_classes = rows.shape[1]
    outcomes, probabilities = read_back(PredictionIds(KEYS, model_of(n_classes)).make(classified(rows)), n_classes)
    np.testing.assert_array_equal(outcomes, rows.argmax(axis=1))
    np.testing.assert_array_equal(probabilities, rows)


@given(second=st.lists(PROBABILITY, min_size=1, max_size=5), is_softmax=st.booleans())
def test_two_classes_come_back_from_one_number(second: list[float], is_softmax: bool) -> None:
    """Of two probabilities that add up to 1 one is stored, and both come back bit by bit, however small one is."""
    positive = np.array(second)
    rows = np.column_stack([1 - positive, positive])
    if is_softmax:  # the small one is more precise than 1 less the large one
        small = np.minimum(positive, 0.5) * 1e-9
        rows = np.column_stack([small, 1 - small])
    ids = PredictionIds(KEYS, model_of(2)).make(classified(rows))
    outcomes, probabilities = read_back(ids, 2)
    assert {len(each) for each in ids} == {56}
    np.testing.assert_array_equal(outcomes, rows.argmax(axis=1))
    np.testing.assert_array_equal(probabilities, rows)


@given(rows=st.lists(st.tuples(PROBABILITY, PROBABILITY), min_size=1, max_size=4))
def test_two_numbers_that_do_not_add_up_come_back(rows: list[tuple[float, float]]) -> None:
    """If two numbers do not add up to 1 both are stored; if they do, they come back to the last bit but one."""
    given_rows = np.array(rows)
    _, probabilities = read_back(PredictionIds(KEYS, model_of(2)).make(classified(given_rows)), 2)
    assert probabilities is not None
    np.testing.assert_allclose(probabilities, given_rows, rtol=0, atol=5 * np.finfo(np.float64).eps)


@given(
    row=st.integers(2, 5).flatmap(lambda n: st.tuples(*[PROBABILITY] * n))
    | PROBABILITY.map(lambda p: (1 - p, p))
    | st.just(())
    | VALUE.map(lambda value: (value,)),
)
def test_a_row_alone_has_the_id_that_it_has_among_others(row: tuple[float, ...]) -> None:
    """A single row, which is packed without numpy, gets the same id as first row of several, to the last letter."""
    model = model_of(len(row) if len(row) > 1 else 0, has_probabilities=len(row) > 1)
    alone, several = (
        ArrayPrediction(
            OutputArrays(None, None, np.array(row * n))
            if len(row) == 1
            else OutputArrays(np.ones(n, np.intp), np.array([row] * n) if row else None),
            (),
        )
        for n in (1, 2)
    )
    with pytest.MonkeyPatch.context() as patch:  # an id holds the time and eight random bytes
        patch.setattr(sightline_service.feedback.prediction_ids, "time", lambda: 1.7e9)
        patch.setattr(os, "urandom", bytes)
        ids = PredictionIds(KEYS, model)
        assert ids.make(alone) == ids.make(several)[:1]


def test_no_rows_have_no_ids() -> None:
    """A prediction of no rows has no ids."""
    assert PredictionIds(KEYS, model_of(2)).make(classified(np.empty((0, 2)))) == []


@given(values=st.lists(VALUE, min_size=1, max_size=5))
def test_values_of_a_regression_come_back_bit_by_bit(values: list[float]) -> None:
    """The value of a regression comes back as it was, infinite or not."""
    prediction = ArrayPrediction(OutputArrays(None, None, np.array(values)), ())
    read = [KEYS.read(each) for each in PredictionIds(KEYS, model_of(0, has_probabilities=False)).make(prediction)]
    assert [each.scores for each in read if each is not None] == [(value,) for value in values]


@given(place=st.integers(0, 55), letter=st.sampled_from(ALPHABET))
def test_no_letter_can_be_changed(place: int, letter: str) -> None:
    """An id with any letter changed is not genuine, nor is another spelling of its base64."""
    (genuine,) = PredictionIds(KEYS, model_of(2)).make(classified(np.array([[0.25, 0.75]])))
    changed = genuine[:place] + letter + genuine[place + 1 :]
    assert (KEYS.read(changed) is not None) == (changed == genuine)


@given(bit=st.integers(0, 42 * 8 - 1))
def test_no_bit_can_be_flipped(bit: int) -> None:
    """An id with any one bit flipped is not genuine."""
    (genuine,) = PredictionIds(KEYS, model_of(2)).make(classified(np.array([[0.25, 0.75]])))
    raw = bytearray(urlsafe_b64decode(genuine))
    raw[bit // 8] ^= 1 << bit % 8
    assert KEYS.read(urlsafe_b64encode(raw).decode()) is None


@given(text=st.text(max_size=80) | st.text(ALPHABET + "+/=", max_size=450))
def test_no_other_text_is_an_id(text: str) -> None:
    """Text that was not signed is not genuine, whatever its length and its letters."""
    assert KEYS.read(text) is None


@pytest.mark.parametrize("cut", range(1, 56))
def test_no_part_of_an_id_is_one(cut: int) -> None:
    """A truncated or lengthened id is not genuine."""
    (genuine,) = PredictionIds(KEYS, model_of(2)).make(classified(np.array([[0.25, 0.75]])))
    assert KEYS.read(genuine[:cut]) is None
    assert KEYS.read(genuine[cut:]) is None
    assert KEYS.read(genuine + genuine[:cut]) is None
    assert KEYS.read(genuine + "=" * cut) is None


@given(secrets=st.lists(st.text(min_size=16, max_size=40), min_size=2, max_size=4, unique=True))
def test_keys_rotate(secrets: list[str]) -> None:
    """Ids of an older key are genuine as long as it is in the list; the first key signs."""
    old, new = PredictionIds(SigningKeys(secrets[1:]), model_of(2)), PredictionIds(SigningKeys(secrets), model_of(2))
    prediction = classified(np.array([[0.25, 0.75]]))
    of_old, of_new = old.make(prediction)[0], new.make(prediction)[0]
    assert SigningKeys(secrets).read(of_old) is not None
    assert SigningKeys(secrets).read(of_new) is not None
    assert SigningKeys(secrets[:1]).read(of_old) is None
    assert SigningKeys(secrets[1:]).read(of_new) is None


def test_another_key_is_not_ours() -> None:
    """An id that another key signed is not genuine."""
    prediction = classified(np.array([[0.25, 0.75]]))
    assert OTHER_KEYS.read(PredictionIds(KEYS, model_of(2)).make(prediction)[0]) is None


def test_ids_of_10000_rows_are_unlike() -> None:
    """Every row of every response has an id and a ledger key of its own; keys are in the order of time."""
    ids = PredictionIds(KEYS, model_of(2))
    prediction = classified(np.tile([[0.25, 0.75]], (10_000, 1)))
    made = [*ids.make(prediction), *ids.make(prediction)]
    read = [KEYS.read(each) for each in made]
    assert len({each.key for each in read if each is not None}) == 20_000
    assert all(each is not None and each.key[:4] == each.made_s.to_bytes(4, "big") for each in read)


@pytest.mark.parametrize(
    ("n_classes", "n_chars"), [(0, 44), (2, 56), (3, 76), (10, 152), (SCORED_CLASSES, 384), (SCORED_CLASSES + 1, 44)]
)
def test_length_is_as_documented(n_classes: int, n_chars: int) -> None:
    """An id has 56 characters for two classes; it grows with the classes up to a bound, and holds none beyond it."""
    probabilities = np.full((1, max(n_classes, 1)), 1 / max(n_classes, 1))
    prediction = ArrayPrediction(OutputArrays(np.zeros(1, np.intp), probabilities), ())
    model = model_of(n_classes, has_probabilities=n_classes > 0)
    (made,) = PredictionIds(KEYS, model).make(prediction)
    assert len(made) == n_chars
    assert set(made) <= set(ALPHABET)


@pytest.mark.parametrize("secrets", [[], ["k3y"], ["a secret that is long enough", ""]])
def test_a_short_secret_stops_start_up(secrets: list[str]) -> None:
    """A secret that could be guessed is refused, and not quoted."""
    with pytest.raises(SettingsError, match="shorter than 16") as refused:
        SigningKeys(secrets)
    assert not any(secret and secret in str(refused.value) for secret in secrets)


def test_a_key_is_made_once_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a key one is written that only its owner can read, with a warning; later it is read."""
    path = tmp_path / "bundle.feedback.key"
    with caplog.at_level(logging.WARNING):
        made = load_secrets((), path)
    assert "several replicas need the same SIGHTLINE_FEEDBACK_KEYS" in caplog.text
    assert path.stat().st_mode & 0o777 == 0o600
    caplog.clear()
    assert load_secrets((), path) == made
    assert caplog.text == ""
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_key_that_cannot_be_kept_lasts_for_the_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the key cannot be written the service starts with one of its own, and the warning says so."""
    made = load_secrets((), tmp_path / "nowhere" / "key")
    assert len(made[0]) == 64
    assert "after a restart" in caplog.text


def test_given_secrets_are_taken(tmp_path: Path) -> None:
    """Secrets of the setting are used as they are, and no file is written."""
    assert load_secrets(("a secret of the setting",), tmp_path / "key") == ("a secret of the setting",)
    assert list(tmp_path.iterdir()) == []
