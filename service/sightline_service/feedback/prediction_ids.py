"""Signed prediction ids: what is needed to judge a label travels with the client, and is kept nowhere.

An id is URL-safe base64 of

    format    1 byte
    key       1 byte, which of the keys signed
    model     4 bytes, a fingerprint of its name, version and classes
    made      4 bytes, Unix time in seconds
    nonce     8 bytes, random for each response
    row       3 bytes, the row of the response
    outcome   2 bytes, index of the class that was predicted
    scores    0 or more float64: probabilities, or the value of a regression
    tag       9 to 11 bytes: so many that base64 needs no padding

The tag is a keyed BLAKE2b (RFC 7693, a MAC without the two passes of HMAC) over all before it. With two classes one
probability says both, and its sign bit whose it is. Everything is in the open, as it is in the response; no
feature is in here.
"""

import binascii
import hashlib
import json
import logging
import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from time import time
from typing import Any

import numpy as np

from sightline_service.errors import SettingsError
from sightline_service.prediction.result import Prediction
from sightline_telemetry.model.counts import Floats
from sightline_telemetry.model.quality import JudgedModel

_log = logging.getLogger(__name__)

SCORED_CLASSES = 32
"""A model with more classes has ids without probabilities, else they would grow by 11 characters a class."""

MAX_ID_CHARS = 400
MIN_SECRET_CHARS = 16

_FORMAT = 1
_HEAD = struct.Struct(">6sI8s")  # format, key and model; made; nonce
_ROW = struct.Struct(">BHH")  # row (3 bytes, as 1 and 2) and outcome
_BODIES = [struct.Struct(f">6sI8sBHH{n_scores}d") for n_scores in range(SCORED_CLASSES + 1)]
_MODEL, _KEY_OF_LEDGER = slice(2, 6), slice(6, 21)
_MIN_TAG, _GROUP = 9, 3
_ROUNDING = 4 * float(np.finfo(np.float64).eps)
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_+/=", b"+/   ")


@dataclass(frozen=True, slots=True)
class SignedPrediction:
    """What a genuine id says.

    key: (15,) bytes that are this prediction's alone, in the order of time. made_s: Unix time.
    """

    key: bytes
    model: bytes
    made_s: int
    outcome: int
    scores: tuple[float, ...]


def fingerprint(model: JudgedModel) -> bytes:
    """4 bytes that tell models apart by name, version, classes and whether they have probabilities."""
    told = json.dumps([model.id.name, model.id.version, model.outcomes, model.has_probabilities])
    return hashlib.blake2b(told.encode(), digest_size=4).digest()


class SigningKeys:
    """The first key signs, all verify: a new key goes in front, the old one leaves when its labels are late."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if any(len(secret) < MIN_SECRET_CHARS for secret in secrets) or not secrets:
            raise SettingsError(
                f"a key in SIGHTLINE_FEEDBACK_KEYS is shorter than {MIN_SECRET_CHARS} characters; make one with "
                "`openssl rand -hex 32`"
            )
        keys = [hashlib.blake2b(secret.encode(), person=b"sightline-key").digest() for secret in secrets]
        self.signing = keys[0]
        self._by_id: dict[int, list[bytes]] = {}
        for key in keys:
            self._by_id.setdefault(self.id_of(key), []).append(key)

    @staticmethod
    def id_of(key: bytes) -> int:
        """The byte that an id names its key by; two keys may share it."""
        return hashlib.blake2b(key, digest_size=1, person=b"sightline-id").digest()[0]

    def read(self, prediction_id: str) -> SignedPrediction | None:
        """What an id says, or None if none of the keys signed it as it stands."""
        if len(prediction_id) > MAX_ID_CHARS or len(prediction_id) % 4:
            return None
        try:
            # Translated first: '+' for '-', or '=' at the end, would be another spelling of the same id.
            raw = binascii.a2b_base64(prediction_id.encode("ascii").translate(_FROM_URL), strict_mode=True)
        except ValueError:
            return None
        n_scores, n_tag = divmod(len(raw) - _HEAD.size - _ROW.size - _MIN_TAG, 8)
        if n_scores < 0 or n_tag >= _GROUP:
            return None
        signed, tag = raw[: -_MIN_TAG - n_tag], raw[-_MIN_TAG - n_tag :]
        (form, key_id, *_), made_s, _ = _HEAD.unpack_from(signed)
        keys = self._by_id.get(key_id, ())
        if form != _FORMAT or not any(compare_digest(_tag(key, len(tag), signed), tag) for key in keys):
            return None
        outcome = _ROW.unpack_from(signed, _HEAD.size)[-1]
        scores = struct.unpack_from(f">{n_scores}d", signed, _HEAD.size + _ROW.size)
        return SignedPrediction(signed[_KEY_OF_LEDGER], signed[_MODEL], made_s, outcome, scores)


class Nonces:
    """Random bytes, eight at a time, from a stock: a system call for each response would cost more than its id."""

    _SIZE, _STOCK = 8, 512

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def take(self) -> bytes:
        """Eight bytes that nobody else gets."""
        while True:
            try:
                return self._left.pop()  # atomic: other threads take other bytes
            except IndexError:
                stock = os.urandom(self._SIZE * self._STOCK)
                self._left.extend(stock[at : at + self._SIZE] for at in range(0, len(stock), self._SIZE))


class PredictionIds:
    """Makes the ids of one model's predictions."""

    def __init__(self, keys: SigningKeys, model: JudgedModel) -> None:
        self._key = keys.signing
        self._start = bytes((_FORMAT, SigningKeys.id_of(keys.signing))) + fingerprint(model)
        self._is_scored = model.has_probabilities and len(model.outcomes) <= SCORED_CLASSES
        self._is_binary = len(model.outcomes) == 2
        self._states: dict[int, Any] = {}
        self._nonces = Nonces()

    def make(self, prediction: Prediction) -> list[str]:
        """The ids of all rows of one response, in their order."""
        if len(prediction) == 1:
            return [self._one(prediction)]
        head = _HEAD.pack(self._start, int(time()), self._nonces.take())
        rows, width = self._rows(prediction)
        begun = self._state(width).copy()
        begun.update(head)
        copy = begun.copy
        signed: list[bytes] = []
        for start in range(0, len(rows), width):
            row, tag = rows[start : start + width], copy()
            tag.update(row)
            signed += (row, tag.digest())
        n_chars = (width + _tag_bytes(width)) // 3 * 4
        beginning, text = _base64(head), _base64(b"".join(signed))
        return [beginning + text[start : start + n_chars] for start in range(0, len(text), n_chars)]

    def _rows(self, prediction: Prediction) -> tuple[bytes, int]:
        """The bytes of all rows, one after the other, and how many each has."""
        outcomes, probabilities, values = prediction.arrays
        scores = np.empty((len(prediction), 0))
        if values is not None:
            scores = values[:, np.newaxis]
        elif probabilities is not None and self._is_scored:
            scores = _one_of_two(probabilities) if self._is_binary else probabilities
        n_rows, n_scores = scores.shape
        rows = np.zeros(
            n_rows, dtype=[("high", "u1"), ("low", ">u2"), ("outcome", ">u2"), ("scores", ">f8", (n_scores,))]
        )
        rows["high"], rows["low"] = np.divmod(np.arange(n_rows), 1 << 16)
        rows["outcome"] = 0 if outcomes is None else outcomes
        rows["scores"] = scores
        return rows.tobytes(), rows.itemsize

    def _one(self, prediction: Prediction) -> str:
        """The id of a single row, where numpy would cost forty times as much as Python."""
        lists = prediction.lists
        outcomes, probabilities = lists.outcomes, lists.probabilities
        scores: Sequence[float] = ()
        if lists.values is not None:
            scores = lists.values
        elif probabilities is not None and self._is_scored:
            scores = probabilities[0]
            if self._is_binary:
                first, second = scores
                if abs(first + second - 1) <= _ROUNDING:
                    is_second = 1 - second == first or (1 - first != second and second <= first)
                    scores = (second if is_second else -first,)
        body = _BODIES[len(scores)]
        outcome = outcomes[0] if outcomes is not None else 0
        signed = body.pack(self._start, int(time()), self._nonces.take(), 0, 0, outcome, *scores)
        tag = self._state(body.size - _HEAD.size).copy()
        tag.update(signed)
        return _base64(signed + tag.digest())

    def _state(self, width: int) -> Any:
        """The keyed hash before any input; copying one is cheaper than keying one."""
        state = self._states.get(width)
        if state is None:
            state = self._states[width] = hashlib.blake2b(key=self._key, digest_size=_tag_bytes(width))
        return state


def probabilities_of(scores: Floats, n_classes: int) -> Floats | None:
    """Probabilities, (n_rows, n_classes), of scores as they were signed, (n_rows, n_scores); None if there are none."""
    if scores.shape[1] == 1 and n_classes == 2:
        one, is_of_first = np.abs(scores[:, 0]), np.signbit(scores[:, 0])
        return np.column_stack([np.where(is_of_first, one, 1 - one), np.where(is_of_first, 1 - one, one)])
    return scores if scores.shape[1] == n_classes else None


def load_secrets(given: Sequence[str], made: Path) -> Sequence[str]:
    """The secrets given; without any, the one in a file, which is made if it is not there."""
    if given:
        return given
    try:
        if not made.exists():
            _make_secret(made)
            _log.warning(
                "SIGHTLINE_FEEDBACK_KEYS is not set: a key was made in %s. A replica without this file takes ids made "
                "here for forged, so several replicas need the same SIGHTLINE_FEEDBACK_KEYS.",
                made,
            )
        return [made.read_text("ascii").strip()]
    except OSError as error:
        _log.warning(
            "SIGHTLINE_FEEDBACK_KEYS is not set and no key can be kept in %s (%s): the ids of this process are taken "
            "for forged by every other, and by this one after a restart.",
            made,
            error.strerror,
        )
        return [os.urandom(32).hex()]


def _make_secret(path: Path) -> None:
    """Writes a key that only its owner can read. Of several processes that start at once one wins, all read its key."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(32).hex() + "\n")
        Path(path).hardlink_to(scratch)  # unlike a rename it fails if the file is there
    except FileExistsError:
        pass
    finally:
        Path(scratch).unlink()


def _one_of_two(probabilities: Floats) -> Floats:
    """One probability a row where it says both; both, where in some row they do not add up to 1.

    The one that says the other exactly, or else the smaller, from which the other follows to the last bit but one.
    """
    first, second = probabilities[:, 0], probabilities[:, 1]
    if (np.abs(first + second - 1) > _ROUNDING).any():
        return probabilities
    is_second = (1 - second == first) | ((1 - first != second) & (second <= first))
    return np.where(is_second, second, -first)[:, np.newaxis]


def _tag_bytes(width: int) -> int:
    return _MIN_TAG + -(width + _MIN_TAG) % _GROUP


def _tag(key: bytes, n_bytes: int, signed: bytes) -> bytes:
    return hashlib.blake2b(signed, key=key, digest_size=n_bytes).digest()


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).decode("ascii")
