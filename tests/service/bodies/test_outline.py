"""A large body is counted before it is built, and its pieces are together what it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_service.bodies import outline as outlines
from sightline_service.bodies.outline import TooManyItemsError, TooManyValuesError, outline

TEXT = st.text(alphabet='ab"\\{}[],: \n€', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(
    items=st.lists(JSON, min_size=1, max_size=12), beside=JSON, indent=st.sampled_from([None, 1]), more=st.booleans()
)
def test_pieces_hold_the_items_of_the_body(items: list[Any], beside: Any, indent: int | None, more: bool) -> None:
    """Whatever strings hold and however steps and pieces fall, the items are counted and come in their order."""
    body = json.dumps({"beside": beside, "instances": items} if more else {"instances": items}, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlines, "PIECE_BYTES", 20)
        patch.setattr(outlines, "_STEP_BYTES", 7)
        n_beside = len(beside) if isinstance(beside, list | dict) else 0
        found = outline(body, max(len(items), n_beside, 1), 10_000)
        assert [item for piece in found.pieces(body) for item in json.loads(piece)["instances"]] == items
        if len(items) > 1:
            with pytest.raises(TooManyItemsError):
                outline(body, len(items) - 1, 10_000)


def test_a_body_is_cut() -> None:
    """2.6 MB of rows are five pieces, none of which is much larger than half a megabyte."""
    rows = [{"a": index, "b": "x" * 100} for index in range(20_000)]
    body = json.dumps({"instances": rows}).encode()
    pieces = list(outline(body, 20_000, 100_000).pieces(body))
    assert len(pieces) == 5
    assert max(map(len, pieces)) < 1.3 * outlines.PIECE_BYTES
    assert [row for piece in pieces for row in json.loads(piece)["instances"]] == rows


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b"[", b'{"a":', b'"",', b"[[],"])
def test_values_beyond_the_limit_are_refused(unit: bytes) -> None:
    """A megabyte of small values in any place is refused."""
    with pytest.raises(TooManyValuesError):
        outline(b'{"a":{"b":{"c":[' + unit * 350_000, 10_000, 100_000)


@pytest.mark.parametrize("unit", [b"]", b'"', b"\\", b"x", b'\\"', b"\xff", b" "])
def test_bytes_that_are_no_json_end_it(unit: bytes) -> None:
    """Of bytes that are no JSON nothing is said, without an error: the decoder refuses them."""
    body = unit * 1_000_000
    assert list(outline(body, 10, 10).pieces(body)) == [body]
