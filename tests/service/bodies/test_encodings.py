"""Packed bodies are read, within the limit of what is unpacked."""

import gzip
import json
import zlib
from resource import RUSAGE_SELF, getrusage

import pytest

from sightline_service.bodies.encodings import unpack, window_of
from sightline_service.errors import BodyTooLargeError, MalformedBodyError
from tests.service.running import Running

ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
BODY = json.dumps({"instances": [ROW]}).encode()


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the header of zlib, as some clients send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "two members": ("gzip", gzip.compress(BODY[:20]) + gzip.compress(BODY[20:])),
    "x-gzip": ("X-GZip", gzip.compress(BODY)),
    "deflate": ("deflate", zlib.compress(BODY)),
    "raw deflate": ("deflate", raw_deflate(BODY)),
    "identity": ("identity", BODY),
}


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED.keys())
@pytest.mark.parametrize("path", ["/predict/model", "/v1/models/small:predict"])
def test_packed_rows_are_predicted(small_service: Running, path: str, encoding: str, packed: bytes) -> None:
    """A body with a known encoding is answered as it would be without."""
    headers = {"content-type": "application/json", "content-encoding": encoding}
    assert small_service.client.post(path, content=packed, headers=headers).status_code == 200


def test_packed_labels_are_read(small_service: Running) -> None:
    """Labels may be packed too."""
    body = json.dumps({"labels": [{"prediction_id": "x", "actual": "yes"}]}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = small_service.client.post("/feedback", content=gzip.compress(body), headers=headers)
    assert (response.status_code, response.json()["labels"]) == (200, ["forged"])


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 1000])
@pytest.mark.parametrize("path", ["/predict/model", "/feedback", "/v1/models/small:predict"])
def test_other_encodings_are_refused(small_service: Running, path: str, encoding: str) -> None:
    """Another encoding is answered 415 with its name and those that are read."""
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = small_service.client.post(path, content=BODY, headers=headers)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"
    assert encoding[:80] in response.text
    assert len(response.content) < 1000


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize(
    "body",
    [b"", b"\x1f\x8b", gzip.compress(BODY)[:-9], b"not packed", b"\x78\x9c\x01"],
    ids=["empty", "two bytes", "cut", "plain", "a header"],
)
def test_what_cannot_be_unpacked_is_named(encoding: bytes, body: bytes) -> None:
    """A broken or cut body is malformed; an empty one is an empty one."""
    if not body:
        assert unpack(body, window_of(encoding), 10) == b""
        return
    with pytest.raises(MalformedBodyError, match="packed"):
        unpack(body, window_of(encoding), 1_000_000)


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    """A gigabyte in a megabyte is refused as soon as it is beyond the limit."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(1000)), packer.flush()])
    before_kb = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(BodyTooLargeError, match="more than 16000000 bytes unpacked"):
        unpack(bomb, window_of(b"gzip"), 16_000_000)
    assert getrusage(RUSAGE_SELF).ru_maxrss - before_kb < 60_000
