"""Checks how much memory a skops file takes before it is spent: a small zip file may unpack to gigabytes.

Checked are what the directory of the zip file promises, which unpacking never exceeds with the methods allowed here;
how often the schema has a file read; and that an array is as large as its header says.
"""

import json
import math
from collections.abc import Iterator
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from numpy.lib import format as npy

from sightline_service.errors import BundleError

SCHEMA = "schema.json"

SCHEMA_SHARE = 16
"""The schema of a model is a small part of it, and as objects it takes some ten times as much memory as its text."""

_BYTES_PER_VALUE = 16
"""A value in a schema of skops takes 25 bytes of text; a list of empty lists three, and 64 in memory."""

_ZIP_MAGIC = b"PK"


def check_archive(file: IO[bytes], limit_bytes: int) -> None:
    """Checks a file that skops wrote, and leaves it at its start.

    Raises BundleError if it needs more memory than the limit, or is not such a file.
    """
    with ZipFile(file) as archive:
        sizes = _sizes(archive, limit_bytes)
        if SCHEMA not in sizes:
            raise BundleError(f"it holds no {SCHEMA}")
        read_bytes = 0
        unpacked: dict[str, int] = {}
        for name in _files_read(_schema(archive, sizes[SCHEMA], limit_bytes // SCHEMA_SHARE)):
            if name not in sizes:
                raise BundleError(f"it names a file {name!r} that it does not hold")
            if name not in unpacked:
                unpacked[name] = sizes[name] + _check_file(archive, name, limit_bytes)
            read_bytes += unpacked[name]
            if read_bytes > limit_bytes:
                raise BundleError(f"it {_too_large(read_bytes, limit_bytes)}")
    file.seek(0)


def _schema(archive: ZipFile, size_bytes: int, limit_bytes: int) -> Any:
    if size_bytes > limit_bytes:
        raise BundleError(f"its {SCHEMA} {_too_large(size_bytes, limit_bytes)}")
    text = archive.read(SCHEMA)
    n_values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if n_values * _BYTES_PER_VALUE > limit_bytes:
        raise BundleError(
            f"its {SCHEMA} holds {n_values:,} values; {limit_bytes // _BYTES_PER_VALUE:,} at most are read"
        )
    return json.loads(text)


def _sizes(archive: ZipFile, limit_bytes: int) -> dict[str, int]:
    """Returns the size of each file after unpacking. Raises BundleError if all together are too large."""
    files = archive.infolist()
    total = sum(file.file_size for file in files)
    if total > limit_bytes:
        raise BundleError(f"it {_too_large(total, limit_bytes)}")
    for file in files:
        if file.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # others are unpacked whole, whatever they promise
            raise BundleError(f"its {file.filename} is compressed by a method that skops does not use")
    return {file.filename: file.file_size for file in files}


def _files_read(schema: Any) -> Iterator[str]:
    """Yields each file as often as skops reads it: once per object, again for each object without an id."""
    waiting, seen = [schema], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            name, number = value.get("file"), value.get("__id__")
            if isinstance(name, str) and (not number or (name, str(number)) not in seen):
                seen.add((name, str(number)))
                yield name


def _check_file(archive: ZipFile, name: str, limit_bytes: int) -> int:
    """Checks an array of numpy's, or a zip file of those, as scipy writes; returns what that unpacks to besides."""
    with archive.open(name) as file:
        magic = file.read(len(npy.MAGIC_PREFIX))
        file.seek(0)
        if magic.startswith(npy.MAGIC_PREFIX):
            _check_header(file, name, archive.getinfo(name).file_size)
        elif magic.startswith(_ZIP_MAGIC):
            with ZipFile(file) as inner:
                sizes = _sizes(inner, limit_bytes)
                for each, size_bytes in sizes.items():
                    with inner.open(each) as array:
                        _check_header(array, f"{name}/{each}", size_bytes)
            return sum(sizes.values())
    return 0


def _check_header(file: IO[bytes], name: str, size_bytes: int) -> None:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(file)
    is_possible = not kind.hasobject and min(shape, default=0) >= 0 and (kind.itemsize or not math.prod(shape))
    if not is_possible or math.prod(shape) * kind.itemsize != size_bytes - file.tell():
        raise BundleError(f"its {name} is of another size, or of other things, than its header says")


def _too_large(size_bytes: int, limit_bytes: int) -> str:
    return (
        f"takes {size_bytes / 1e6:,.0f} MB when it is unpacked, and {limit_bytes / 1e6:,.0f} MB at most are read; if "
        "you made it, raise SIGHTLINE_MAX_MODEL_MB"
    )
