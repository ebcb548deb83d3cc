"""Events are read as they were written, whatever a client sent, and however many steps a pipeline has."""

from struct import Struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_telemetry.events.http_codes import METHODS
from sightline_telemetry.events.layout import (
    LOG,
    MAX_TEXT_BYTES,
    NO_MODEL,
    NO_ROUTE,
    NO_SLOT,
    REQUEST,
    VERSION,
    RawRows,
    RequestEvent,
    RowLayout,
    Texts,
    UnknownEventError,
    batch_event,
    body_event,
    cut,
    event_body,
    read_batch,
    read_request,
    type_of,
)
from tests.telemetry.serving import ENDED, START_NS, UNIX_NS, lasting, written

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
SHORT = st.binary(max_size=MAX_TEXT_BYTES // 4)


VALUES = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text()
RAW = st.builds(
    RawRows,
    st.lists(st.tuples(VALUES, VALUES), max_size=3),
    st.none() | st.lists(U32, max_size=3),
    st.none() | st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=3),
    st.none() | st.lists(st.floats(allow_nan=False), max_size=3),
)


@given(
    small=st.lists(U8, min_size=7, max_size=7),
    middle=st.tuples(U16, U16, U16, U32, U32),
    large=st.lists(U64, min_size=9, max_size=9),
    marks=st.lists(U64, max_size=63),
    texts=st.lists(SHORT, min_size=11, max_size=11),
    rows=st.binary(max_size=200) | RAW,
)
def test_a_request_is_read_as_it_was_written(
    small: list[int],
    middle: tuple[int, int, int, int, int],
    large: list[int],
    marks: list[int],
    texts: list[bytes],
    rows: bytes | RawRows,
) -> None:
    """Every field, mark, text and value comes back, undecodable bytes too; the type and the version stand first."""
    fields: Any = (VERSION, *small, *middle, *large, tuple(marks), Texts._make(texts), rows)
    event = RequestEvent._make(fields)
    assert read_request(written(event)) == event
    assert type_of(written(event)) == REQUEST


def test_texts_at_the_end_may_be_left_out() -> None:
    """The rare texts of a request need not be written; they are read as empty."""
    event = ENDED._replace(texts=Texts(b"/a", b"agent"))
    short: Any = event._replace(texts=(b"/a", b"agent"))  # type: ignore[arg-type]  # a writer gives any tuple
    assert read_request(written(short)) == event


@pytest.mark.parametrize("n_marks", [0, 1, 62, 63, 64, 65, 255, 256, 1000, 65_535, 65_536])
def test_a_pipeline_may_have_any_number_of_steps(n_marks: int) -> None:
    """Marks of many steps are kept, and what stands behind them too."""
    event = ENDED._replace(marks=tuple(range(n_marks)), texts=Texts(b"/a", error=b"E"), rows=b"12345678")
    assert read_request(written(event)) == event


@pytest.mark.parametrize(
    "event",
    [
        b"\xdc\x00\x19\x01",
        written(ENDED)[:-1],
        written(ENDED) + b"\x00",
        written(ENDED._replace(marks="none")),  # type: ignore[arg-type]
        written(ENDED._replace(rows=(1, 2))),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_event_is_refused(event: bytes) -> None:
    """Bytes that begin like the event of a request, and are none, raise UnknownEventError."""
    with pytest.raises(UnknownEventError, match="no event of a request"):
        read_request(event)


@given(st.integers(0, 70_000), st.binary(min_size=1, max_size=9))
def test_long_texts_are_cut(length: int, pattern: bytes) -> None:
    """A text of more than 1,024 bytes becomes a start of itself."""
    text = (pattern * length)[:length]
    short = cut(text)
    assert text.startswith(short)
    assert MAX_TEXT_BYTES - 3 <= len(short) <= MAX_TEXT_BYTES or short == text


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_no_character_is_cut_in_two(character: str, offset: int) -> None:
    """A text of UTF-8 that is cut is still UTF-8."""
    text = ("/" * offset + character * 5000).encode()
    path = cut(text)
    assert text.decode().startswith(path.decode())
    assert MAX_TEXT_BYTES - 4 < len(path) <= MAX_TEXT_BYTES


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
