"""Files of skops that are broken on purpose: a real one, in which an array or a value of the schema is changed."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import skops.io
from numpy.typing import NDArray

ChangeArray = Callable[[NDArray[Any]], NDArray[Any] | None]
ChangeFiles = Callable[[dict[str, Any], dict[str, bytes]], None]


def with_files(model: object, change: ChangeFiles) -> io.BytesIO:
    """Returns a model as skops writes it, after `change` got its schema and its other files by name."""
    with ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files.pop("schema.json"))
    change(schema, files)
    written = io.BytesIO()
    with ZipFile(written, "w", ZIP_DEFLATED) as archive:
        for name, data in {"schema.json": json.dumps(schema).encode(), **files}.items():
            archive.writestr(name, data)
    written.seek(0)
    return written


def with_arrays(model: object, change: ChangeArray) -> io.BytesIO:
    """Returns a model as skops writes it, with the arrays that `change` returns in place of those that it got."""
    n_changed = 0

    def change_all(_: dict[str, Any], files: dict[str, bytes]) -> None:
        nonlocal n_changed
        for name in [name for name in files if name.endswith(".npy")]:
            changed = change(np.load(io.BytesIO(files[name])).copy())
            if changed is not None:
                n_changed += 1
                files[name] = _written(changed)

    poisoned = with_files(model, change_all)
    assert n_changed, "nothing was changed"
    return poisoned


def with_attribute(model: object, name: str, value: object) -> io.BytesIO:
    """Returns a model as skops writes it, with a number in place of an attribute, wherever it stands."""
    n_changed = 0

    def change(schema: dict[str, Any], _: dict[str, bytes]) -> None:
        nonlocal n_changed
        for node in nodes(schema):
            content = node.get("content")
            if isinstance(content, dict) and isinstance(content.get(name), dict):
                content[name] = {**_NUMBER, "content": json.dumps(value)}
                n_changed += 1

    poisoned = with_files(model, change)
    assert n_changed, "nothing was changed"
    return poisoned


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every object within a schema."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from nodes(each)


_NUMBER = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "is_json": True}


def _written(array: NDArray[Any]) -> bytes:
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()
