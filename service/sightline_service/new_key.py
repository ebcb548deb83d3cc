"""`sightline key add`: makes a key, and adds the line by which it is verified to the file of keys."""

import os
from collections.abc import Sequence
from pathlib import Path

from sightline_service.errors import SettingsError
from sightline_service.settings import PREFIX
from sightline_telemetry.access.key_file import make_key, read_keys


def add_key(name: str, scopes: Sequence[str], file: Path | None) -> tuple[str, Path]:
    """Returns the new key, and the file that its hash was added to; a file that does not exist is made.

    file: None for that of SIGHTLINE_API_KEYS. Raises SettingsError, and then nothing is written.
    """
    given = os.environ.get(f"{PREFIX}API_KEYS", "")
    if file is None and not given:
        raise SettingsError("no file of keys is named: set SIGHTLINE_API_KEYS to its path, or use --file")
    path = Path(given) if file is None else file
    try:
        made, line = make_key(name, scopes)
        if path.exists() and name.encode() in read_keys(path):
            raise SettingsError(f"{path} has a key {name} already: remove its line first, or use another name")
        _append(path, line)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    return made, path


def _append(path: Path, line: str) -> None:
    """Adds a line by one write: a service that reads the file meanwhile finds it whole, or not at all."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        line = f"\n{line}"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
