"""A model file that would take too much memory, or is none, is refused in one sentence before the memory is spent."""

import io
import json
from collections.abc import Callable
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import skops.io
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from sightline_service.bundles.model_loading import load_model
from sightline_service.errors import BundleError
from tests.service.bundles.poison import nodes, with_files

LIMIT_BYTES = 4 << 20
DATA = np.random.default_rng(4).normal(size=(60, 3))
LABELS = (DATA[:, 0] > 0).astype(int)
MODEL = LogisticRegression().fit(DATA, LABELS)


def zipped(files: dict[str, bytes], method: int = ZIP_DEFLATED) -> io.BytesIO:
    """Returns a zip file, at its start."""
    written = io.BytesIO()
    with ZipFile(written, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    written.seek(0)
    return written


def array_file(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the first node that is read from a file."""
    return next(node for node in nodes(schema) if "file" in node)


def read_again(schema: dict[str, Any], files: dict[str, bytes]) -> None:
    """Reads one file for a hundred objects."""
    node = array_file(schema)
    large = io.BytesIO()
    np.save(large, np.zeros(100_000))
    files[node["file"]] = large.getvalue()
    schema["content"]["more"] = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": [{**node, "__id__": 10**9 + number} for number in range(100)],
    }


def promised(schema: dict[str, Any], files: dict[str, bytes]) -> None:
    """Promises a terabyte in the header of an array."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**11,)})
    files[array_file(schema)["file"]] = header.getvalue()


def not_there(schema: dict[str, Any], _: dict[str, bytes]) -> None:
    """Names a file that is not in the archive."""
    array_file(schema)["file"] = "elsewhere.npy"


def nested_bomb(schema: dict[str, Any], files: dict[str, bytes]) -> None:
    """Packs zeros into the zip file of a sparse matrix, which is packed once more."""
    written = io.BytesIO()
    sparse.save_npz(written, sparse.csr_array(np.zeros((1, 1))))
    with ZipFile(io.BytesIO(written.getvalue())) as inner:
        arrays = {name: inner.read(name) for name in inner.namelist()}
    data = io.BytesIO()
    np.save(data, np.zeros(LIMIT_BYTES))
    name = next(node["file"] for node in nodes(schema) if str(node.get("file", "")).endswith(".npz"))
    files[name] = zipped(arrays | {"data.npy": data.getvalue()}).getvalue()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (read_again, "MB when it is unpacked, and 4 MB at most are read; .* SIGHTLINE_MAX_MODEL_MB"),
        (promised, "is of another size"),
        (not_there, "names a file 'elsewhere.npy' that it does not hold"),
    ],
)
def test_files_are_as_large_as_they_say(change: Callable[..., None], wrong: str) -> None:
    """What a file unpacks to is known before it is unpacked, however often it is read."""
    with pytest.raises(BundleError, match=f"is not read: .*{wrong}"):
        load_model(with_files(MODEL, change), (), LIMIT_BYTES)


def test_a_zip_file_within_is_counted() -> None:
    """A sparse matrix is a zip file of its own, and counts by what it unpacks to."""
    model = SVC().fit(sparse.csr_matrix(DATA), LABELS)
    with pytest.raises(BundleError, match="4 MB at most are read"):
        load_model(with_files(model, nested_bomb), (), LIMIT_BYTES)


BROKEN = {
    "no zip file": io.BytesIO(b"something else"),
    "nothing in it": zipped({}),
    "no JSON": zipped({"schema.json": b"{"}),
    "a list": zipped({"schema.json": b"[]"}),
    "nested": zipped({"schema.json": b'{"a":' * 30_000 + b"1" + b"}" * 30_000}),
    "many values": zipped({"schema.json": b"[" + b"[]," * 80_000 + b"1]"}),
    "another method": zipped({"schema.json": b"{}"}, ZIP_BZIP2),
    "a dictionary": io.BytesIO(skops.io.dumps({"a": 1})),
    "a long text": zipped({"schema.json": json.dumps({"a": "x" * LIMIT_BYTES}).encode()}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_model_is_refused(name: str) -> None:
    """Whatever the file is, one error says so, in one line."""
    with pytest.raises(BundleError) as raised:
        load_model(BROKEN[name], (), LIMIT_BYTES)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 800
