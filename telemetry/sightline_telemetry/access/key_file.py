"""The file of keys: who may do what, by a salted SHA-256 of each key.

A key has 256 random bits, so a fast hash protects it: there is nothing to guess. A slow one, as for passwords, would
cost each request more than the model does.
"""

import logging
import re
from base64 import b64decode
from binascii import Error as NotBase64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from secrets import token_bytes, token_hex

from sightline_telemetry.access.watched_file import UnusableFileError, check_writers, signature_of

PREDICT, FEEDBACK, READ = SCOPES = ("predict", "feedback", "read")

MAX_NAMED_CLIENTS = 50
"""More names than these have no series of their own."""

WHAT = "the file of keys"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
_HASH = re.compile(r"sha256:([0-9a-f]{32}):([0-9a-f]{64})")
_SALT_BYTES = 16
_MAX_BYTES = 512  # of what a client sends as a key

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """What a file knows of a key. label: the name as events carry it."""

    name: str
    label: bytes
    scopes: frozenset[str]
    salt: bytes
    digest: bytes


_NOBODY = Key("", b"", frozenset(), bytes(_SALT_BYTES), bytes(32))  # compared with for a name that no key has


def make_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """Returns a new key, which is shown once, and the line of the file by which it is verified.

    Raises ValueError for a name or a scope that does not fit.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name[:80]!r} does not fit: letters, digits, `.` and `-` only, 63 at most")
    wanted = [scope for scope in SCOPES if scope in set(scopes)]
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not wanted:
        raise ValueError(f"the scopes {', '.join(unknown) or 'are missing'}: there are {', '.join(SCOPES)}")
    key = f"sl_{name}_{token_hex(32)}"
    salt = token_bytes(_SALT_BYTES)
    return key, f"{name} {','.join(wanted)} sha256:{salt.hex()}:{_digest(salt, key.encode()).hex()}\n"


def read_keys(path: Path) -> dict[bytes, Key]:
    """Returns the keys of a file by their names, in its order. Raises UnusableFileError."""
    check_writers(path, WHAT)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableFileError(f"{WHAT} {path} cannot be read: {getattr(error, 'strerror', error)}") from error
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            key = _read_line(line, f"{WHAT} {path}, line {number}")
            if key.label in keys:
                raise UnusableFileError(f"{WHAT} {path}, line {number}: there is a key {key.name} already")
            keys[key.label] = key
    return keys


class KeyFile:
    """Verifies keys by a file, which is read again when it changes.

    Raises UnusableFileError for a file that cannot be used. One that becomes so later changes nothing, and is logged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature = signature_of(path)
        self._keys: Mapping[bytes, Key] = read_keys(path)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, in the order of the file."""
        return tuple(key.name for key in self._keys.values())

    def look(self) -> None:
        """Reads the file again if it has changed."""
        signature = signature_of(self._path)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._keys = read_keys(self._path)
        except UnusableFileError as error:
            _log.error("keys stay as they were: %s", error)  # the text says all of it
        else:
            _log.info("keys were read again: %d", len(self._keys))

    def holder(self, authorization: bytes | None) -> Key | None:
        """Returns the key that an Authorization header brings, as Bearer or as the password of Basic; None without.

        The time that it takes does not depend on how much of a key is right, nor on whether its name is known.
        """
        if authorization is None:
            return None
        scheme, _, key = authorization.partition(b" ")
        key = key.strip()
        if len(key) > _MAX_BYTES:
            return None
        if scheme.lower() == b"basic":
            try:
                key = b64decode(key, validate=True).partition(b":")[2]
            except NotBase64Error:
                return None
        elif scheme.lower() != b"bearer":
            return None
        parts = key.split(b"_", 2)
        known = self._keys.get(parts[1]) if len(parts) == 3 else None
        stored = _NOBODY if known is None else known
        return known if compare_digest(_digest(stored.salt, key), stored.digest) else None


def _read_line(line: str, where: str) -> Key:
    """Reads a line; its error does not quote it, for it may hold a key by mistake."""
    fields = line.split()
    if len(fields) != 3:
        raise UnusableFileError(f"{where}: a name, scopes and a hash are expected, as `sightline key add` writes them")
    name, scopes, written = fields
    hashed = _HASH.fullmatch(written)
    if not _NAME.fullmatch(name) or hashed is None:
        raise UnusableFileError(f"{where}: no name and hash as `sightline key add` writes them")
    named = frozenset(scopes.split(","))
    if not named <= set(SCOPES):
        raise UnusableFileError(f"{where}: the scopes are {', '.join(SCOPES)}, separated by commas without blanks")
    return Key(name, name.encode(), named, bytes.fromhex(hashed[1]), bytes.fromhex(hashed[2]))


def _digest(salt: bytes, key: bytes) -> bytes:
    return sha256(salt + key).digest()
