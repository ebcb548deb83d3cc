"""Events are read as they were written, whatever a client sent, and however many steps a pipeline has."""

from struct import Struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_telemetry.events.layout import (
    LOG,
    MAX_TEXT_BYTES,
    METHODS,
    NO_MODEL,
    NO_ROUTE,
    NO_SLOT,
    RequestEvent,
    RowLayout,
    Texts,
    batch_event,
    body_event,
    event_body,
    read_batch,
    read_request,
    slot_of,
)
from tests.telemetry.serving import ENDED, START_NS, UNIX_NS, lasting, written

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
SHORT = st.binary(max_size=MAX_TEXT_BYTES // 4)


@given(
    small=st.lists(U8, min_size=7, max_size=7),
    middle=st.tuples(U16, U16, U16, U32, U32),
    large=st.lists(U64, min_size=9, max_size=9),
    marks=st.lists(U64, max_size=63),
    texts=st.lists(SHORT, min_size=10, max_size=10),
    rows=st.binary(max_size=200),
)
def test_a_request_is_read_as_it_was_written(
    small: list[int],
    middle: tuple[int, int, int, int, int],
    large: list[int],
    marks: list[int],
    texts: list[bytes],
    rows: bytes,
) -> None:
    """Every field, mark and text comes back, undecodable bytes too; the slot is found without reading the rest."""
    fields: Any = (*small, *middle, *large, tuple(marks), Texts._make(texts), rows)
    event = RequestEvent._make(fields)
    assert read_request(written(event)) == event
    assert slot_of(written(event)) == (event.slot, event.span_id)


@pytest.mark.parametrize("n_marks", [0, 1, 62, 63, 64, 65, 255, 256, 1000, 65_535])
def test_a_pipeline_may_have_any_number_of_steps(n_marks: int) -> None:
    """Marks of many steps are kept, and what stands behind them too."""
    event = ENDED._replace(marks=tuple(range(n_marks)), texts=Texts(b"/a", error=b"E"), rows=b"12345678")
    assert read_request(written(event)) == event


@given(st.lists(st.integers(0, 70_000), min_size=10, max_size=10), st.binary(min_size=1, max_size=9))
def test_long_texts_are_cut(lengths: list[int], pattern: bytes) -> None:
    """If the texts of a request are long together, each is a start of itself, of 1,024 bytes at most."""
    texts = Texts._make((pattern * length)[:length] for length in lengths)
    event = ENDED._replace(texts=texts, marks=(1, 2), rows=b"rows")
    read = read_request(written(event))
    assert read._replace(texts=texts) == event
    for text, whole in zip(read.texts, texts, strict=True):
        assert whole.startswith(text)
        if sum(lengths) > 4 * MAX_TEXT_BYTES:
            assert MAX_TEXT_BYTES - 3 <= len(text) <= MAX_TEXT_BYTES or text == whole
        else:
            assert text == whole


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_no_character_is_cut_in_two(character: str, offset: int) -> None:
    """A text of UTF-8 that is cut is still UTF-8."""
    text = ("/" * offset + character * 5000).encode()
    (path, *_) = read_request(written(ENDED._replace(texts=Texts(text)))).texts
    assert text.decode().startswith(path.decode())
    assert len(path) > MAX_TEXT_BYTES - 4


def test_times_are_those_of_the_monotonic_clock() -> None:
    """A mark of the monotonic clock is as far from the start in Unix time as it was measured."""
    event = lasting(0.25)
    assert event.unix(START_NS) == UNIX_NS
    assert event.unix(event.end_ns) - UNIX_NS == round(event.duration_s * 1e9) == 250_000_000
    assert event._replace(trace_hi=1, trace_lo=2).trace_id == 2**64 + 2


@given(U8, U32, st.lists(U64, max_size=70), st.lists(U64, max_size=300))
def test_a_batch_is_read_as_it_was_written(model: int, n_rows: int, marks: list[int], queued: list[int]) -> None:
    """Marks and waiting times come back, of any number of steps and requests."""
    assert read_batch(batch_event(model, n_rows, marks, queued)) == (model, n_rows, tuple(marks), tuple(queued))


@given(st.binary())
def test_a_body_is_read_as_it_was_written(body: bytes) -> None:
    """An event that is one piece of bytes gives them back, and names its type first."""
    event = body_event(LOG, body)
    assert (event[0], event_body(event)) == (LOG, body)


def test_a_row_has_the_layout_of_its_model() -> None:
    """Numbers, then codes, then the outcome with its probabilities or the value, without gaps."""
    classes = RowLayout(2, 1, 3, has_outcomes=True)
    assert classes.struct.unpack(Struct("<2dII3d").pack(1.5, 2.5, 7, 1, 0.1, 0.2, 0.7)) == (
        1.5,
        2.5,
        7,
        1,
        0.1,
        0.2,
        0.7,
    )
    assert RowLayout(0, 2, 0, has_outcomes=True).struct.size == 12
    assert RowLayout(1, 0, 0, has_outcomes=False).struct.size == 16


def test_no_code_is_that_of_nothing() -> None:
    """What stands for no model, no route and no slot is the largest number of its field, and methods fit their byte."""
    assert (NO_MODEL, NO_ROUTE, NO_SLOT) == (2**8 - 1, 2**16 - 1, 2**16 - 1)
    assert METHODS[0] == "_OTHER"
    assert len(METHODS) < 2**8
