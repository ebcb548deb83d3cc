"""Signed prediction ids carry what is needed to judge a label, so the service stores nothing per prediction.

An id is URL-safe base64 of

    format    1 byte
    key       1 byte, names the key that signed
    model     4 bytes, a fingerprint of its name, version and classes
    made      4 bytes, Unix time in seconds
    nonce     8 bytes, random for each response
    row       3 bytes, the row of the response
    outcome   2 bytes, index of the class that was predicted
    scores    0 or more float64: probabilities, or the value of a regression
    tag       9 to 11 bytes, the number with which base64 needs no padding

The tag is a keyed BLAKE2b (RFC 7693, a MAC without the two passes of HMAC) over everything before it. For two classes
one probability is stored; its sign bit says which class it belongs to. Nothing is encrypted, as the response has the
same values; an id holds no feature.
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
from sightline_telemetry.access.watched_file import UnusableFileError, check_private
from sightline_telemetry.model.histogram import Floats
from sightline_telemetry.model.quality import JudgedModel

_log = logging.getLogger(__name__)

SCORED_CLASSES = 32
"""Ids of a model with more classes hold no probabilities, which would take 11 characters per class."""

MAX_ID_CHARS = 400
MIN_SECRET_CHARS = 16

_FORMAT = 1
_HEAD = struct.Struct(">6sI8s")  # format, key and model; made; nonce
_ROW = struct.Struct(">BHH")  # row (3 bytes, as 1 and 2) and outcome
_MODEL, _KEY_OF_LEDGER = slice(2, 6), slice(6, 21)
_MIN_TAG, _GROUP = 9, 3
_ROUNDING = 4 * float(np.finfo(np.float64).eps)
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_+/=", b"+/   ")


@dataclass(frozen=True, slots=True)
class SignedPrediction:
    """Holds the content of a genuine id.

    key: 15 bytes, unique to this prediction, in the order of time. made_s: Unix time.
    """

    key: bytes
    model: bytes
    made_s: int
    outcome: int
    scores: tuple[float, ...]


def fingerprint(model: JudgedModel) -> bytes:
    """Returns 4 bytes that distinguish models by name, version, classes and whether they have probabilities."""
    identity = json.dumps([model.id.name, model.id.version, model.outcomes, model.has_probabilities])
    return hashlib.blake2b(identity.encode(), digest_size=4).digest()


class SigningKeys:
    """The first key signs, all verify: put a new key first, and remove the old one when its labels would be late."""

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
        """Returns the byte by which an id names its key; two keys may share it."""
        return hashlib.blake2b(key, digest_size=1, person=b"sightline-id").digest()[0]

    def read(self, prediction_id: str) -> SignedPrediction | None:
        """Returns the content of an id, or None if none of the keys signed exactly this text."""
        if len(prediction_id) > MAX_ID_CHARS or len(prediction_id) % 4:
            return None
        try:
            # Translated first: '+' for '-', or '=' at the end, would be a second spelling of the same id.
            raw = binascii.a2b_base64(prediction_id.encode("ascii").translate(_FROM_URL), strict_mode=True)
        except ValueError:
            return None
        n_scores, n_tag = divmod(len(raw) - _HEAD.size - _ROW.size - _MIN_TAG, 8)
        if n_scores < 0 or n_tag >= _GROUP:
            return None
        signed, tag = raw[: -_MIN_TAG - n_tag], raw[-_MIN_TAG - n_tag :]
        (form, key_id, *_), made_s, _ = _HEAD.unpack_from(signed)
        keys = self._by_id.get(key_id, ())
        tags = (hashlib.blake2b(signed, key=key, digest_size=len(tag)).digest() for key in keys)
        if form != _FORMAT or not any(compare_digest(each, tag) for each in tags):
            return None
        outcome = _ROW.unpack_from(signed, _HEAD.size)[-1]
        scores = struct.unpack_from(f">{n_scores}d", signed, _HEAD.size + _ROW.size)
        return SignedPrediction(signed[_KEY_OF_LEDGER], signed[_MODEL], made_s, outcome, scores)


class Nonces:
    """Random bytes, eight at a time, from a stock: a system call per response would cost more than making its id."""

    _SIZE, _STOCK = 8, 512

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def take(self) -> bytes:
        """Returns eight bytes that no other call returns."""
        while True:
            try:
                return self._left.pop()  # atomic: another thread gets other bytes
            except IndexError:
                stock = os.urandom(self._SIZE * self._STOCK)
                self._left.extend(stock[at : at + self._SIZE] for at in range(0, len(stock), self._SIZE))


class _Layout:
    """Describes how the rows of ids with so many scores are packed, alone or in an array, and signed."""

    __slots__ = ("array", "keyed_hash", "n_chars", "struct", "width")

    def __init__(self, key: bytes, n_scores: int) -> None:
        fields = [("row_high", "u1"), ("row_low", ">u2"), ("outcome", ">u2"), ("scores", ">f8", (n_scores,))]
        self.array = np.dtype(fields)
        self.struct = struct.Struct(f"{_HEAD.format}{_ROW.format[1:]}{n_scores}d")
        self.width = self.array.itemsize
        n_tag = _MIN_TAG + -(self.width + _MIN_TAG) % _GROUP
        self.n_chars = (self.width + n_tag) // 3 * 4
        self.keyed_hash = hashlib.blake2b(key=key, digest_size=n_tag)
        """Before any input: copying it is cheaper than keying a new one."""


class PredictionIds:
    """Makes the ids of one model's predictions."""

    def __init__(self, keys: SigningKeys, model: JudgedModel) -> None:
        self._start = bytes((_FORMAT, SigningKeys.id_of(keys.signing))) + fingerprint(model)
        self._is_scored = model.has_probabilities and len(model.outcomes) <= SCORED_CLASSES
        self._is_binary = len(model.outcomes) == 2
        n_scores = {0, 1, len(model.outcomes) if self._is_scored else 0}
        self._layouts = {n: _Layout(keys.signing, n) for n in n_scores}
        self._nonces = Nonces()

    def make(self, prediction: Prediction) -> list[str]:
        """Returns the ids of all rows of one response, in their order.

        A single row is packed without numpy, which would cost forty times as much.
        """
        if len(prediction) != 1:
            return self._make_many(prediction)
        lists = prediction.lists
        outcomes, probabilities = lists.outcomes, lists.probabilities
        scores: Sequence[float] = ()
        if lists.values is not None:
            scores = lists.values
        elif probabilities is not None and self._is_scored:
            scores = probabilities[0]
            if self._is_binary:
                first, second = scores
                if _add_up(first, second):
                    scores = (second if _is_second_stored(first, second) else -first,)
        layout = self._layouts[len(scores)]
        outcome = outcomes[0] if outcomes is not None else 0
        signed = layout.struct.pack(self._start, int(time()), self._nonces.take(), 0, 0, outcome, *scores)
        tag = layout.keyed_hash.copy()
        tag.update(signed)
        return [_base64(signed + tag.digest())]

    def _make_many(self, prediction: Prediction) -> list[str]:
        rows, layout = self._pack(prediction)
        head = _HEAD.pack(self._start, int(time()), self._nonces.take())
        begun = layout.keyed_hash.copy()
        begun.update(head)
        copy, width = begun.copy, layout.width
        signed: list[bytes] = []
        for start in range(0, len(rows), width):
            row, tag = rows[start : start + width], copy()
            tag.update(row)
            signed += (row, tag.digest())
        beginning, text, n_chars = _base64(head), _base64(b"".join(signed)), layout.n_chars
        return [beginning + text[start : start + n_chars] for start in range(0, len(text), n_chars)]

    def _pack(self, prediction: Prediction) -> tuple[bytes, _Layout]:
        """Returns the bytes of all rows, one after the other, and their layout."""
        outcomes, probabilities, values = prediction.arrays
        scores = np.empty((len(prediction), 0))
        if values is not None:
            scores = values[:, np.newaxis]
        elif probabilities is not None and self._is_scored:
            scores = probabilities
            if self._is_binary:
                first, second = scores[:, 0], scores[:, 1]
                if _add_up(first, second).all():
                    scores = np.where(_is_second_stored(first, second), second, -first)[:, np.newaxis]
        layout = self._layouts[scores.shape[1]]
        rows = np.zeros(len(scores), layout.array)
        rows["row_high"], rows["row_low"] = np.divmod(np.arange(len(scores)), 1 << 16)
        rows["outcome"] = 0 if outcomes is None else outcomes
        rows["scores"] = scores
        return rows.tobytes(), layout


def probabilities_of(scores: Floats, n_classes: int) -> Floats | None:
    """Returns the probabilities, (n_rows, n_classes), of signed scores, (n_rows, n_scores); None if there are none."""
    if scores.shape[1] == 1 and n_classes == 2:
        one, is_of_first = np.abs(scores[:, 0]), np.signbit(scores[:, 0])
        return np.column_stack([np.where(is_of_first, one, 1 - one), np.where(is_of_first, 1 - one, one)])
    return scores if scores.shape[1] == n_classes else None


def load_secrets(given: Sequence[str], made: Path) -> Sequence[str]:
    """Returns the given secrets; without any, the one in the file, which is written first if it does not exist.

    Raises SettingsError for a file that others may read or write: they could forge the ids of predictions.
    """
    if given:
        return given
    try:
        if not made.exists():
            _make_secret(made)
            _log.warning(
                "SIGHTLINE_FEEDBACK_KEYS is not set: a key was written to %s. A replica without this file rejects ids "
                "of this one as forged, so several replicas need the same SIGHTLINE_FEEDBACK_KEYS.",
                made,
            )
        check_private(made, "the key that signs prediction ids,")
        return [made.read_text("ascii").strip()]
    except UnusableFileError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        _log.warning(
            "SIGHTLINE_FEEDBACK_KEYS is not set and no key can be written to %s (%s): the ids of this process are "
            "rejected as forged by other processes, and by this one after a restart.",
            made,
            error.strerror,
        )
        return [os.urandom(32).hex()]


def _make_secret(path: Path) -> None:
    """Writes a key that only its owner can read. If several processes start at once, all use the key of the first."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(32).hex() + "\n")
        Path(path).hardlink_to(scratch)  # unlike a rename, this fails if the file exists
    except FileExistsError:
        pass
    finally:
        Path(scratch).unlink()


def _add_up(first: Any, second: Any) -> Any:
    """Returns whether two probabilities add up to 1, so that one can be stored for both; floats or arrays."""
    return abs(first + second - 1) <= _ROUNDING


def _is_second_stored(first: Any, second: Any) -> Any:
    """Returns whether the second of two probabilities is stored for both; floats or arrays.

    It is the one from which the other follows exactly, or else the smaller, from which the other follows to the last
    bit but one.
    """
    return (1 - second == first) | ((1 - first != second) & (second <= first))


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).decode("ascii")
