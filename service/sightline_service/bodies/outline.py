"""Counts what is in a large JSON body before any of it is built, and finds where the body may be cut in pieces.

A JSON decoder builds all of a body in one call, during which nothing else of the process runs, and builds what is too
much before it can refuse it. The outline costs a few nanoseconds per byte and stops at the limit.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WHOLE_BYTES = 262_144
"""A body that is not longer is decoded within a few milliseconds, whatever is in it."""

PIECE_BYTES = 524_288
"""Size of the pieces: the decoder holds the interpreter for some milliseconds per piece."""

_STEP_BYTES = 262_144
_QUOTE, _COMMA = b'",'
_IS_MARK = bytes(byte in b'"{}[],' for byte in range(256))
_BACKSLASHES = re.compile(rb"\\*")
_DEPTH = np.zeros(256, dtype=np.int8)
_DEPTH[list(b"{[")], _DEPTH[list(b"}]")] = 1, -1

Positions = NDArray[np.intp]


class TooMuchError(Exception):
    """The body has more than a limit allows; it was not read to its end."""


class TooManyItemsError(TooMuchError):
    """The list has too many items."""


class TooManyValuesError(TooMuchError):
    """The body has too many values."""


@dataclass(slots=True)
class Outline:
    """What is known of a JSON object with a list among its members, such as `{"instances": [...]}`.

    n_values: lists, objects, and all that stands in them. n_lists: lists and objects that are members.
    start: position behind the bracket that opens the first of them. cuts: positions of commas between its items, the
    first one behind each multiple of PIECE_BYTES. The decoder finds out whether the bytes
    are JSON at all.
    """

    n_values: int = 0
    n_lists: int = 0
    start: int = 0
    cuts: list[int] = field(default_factory=list)

    def pieces(self, body: bytes) -> Iterator[bytes]:
        """Yields bodies that hold the items one after the other.

        Every piece has all that stands before the list, and the last one what stands behind it. So whatever is wrong
        in the body is wrong in a piece. A body with several lists is one piece.
        """
        cuts = self.cuts if self.n_lists == 1 else []
        opening, closing = body[: self.start], _closing(body[: self.start])
        start = 0
        for cut in cuts:
            yield (opening + body[start:cut] if start else body[:cut]) + closing
            start = cut + 1
        yield opening + body[start:] if start else body


def _closing(opening: bytes) -> bytes:
    return b"]}" if opening.endswith(b"[") else b"}}"


def outline(body: bytes, max_items: int, max_values: int) -> Outline:
    """Returns the outline of a JSON body.

    max_items: of each list that is a member of the body. max_values: of the body.
    Raises TooManyItemsError or TooManyValuesError as soon as there are more.
    """
    return _Scan(max_items, max_values).scan(body)


class _Scan:
    """Goes through a body step by step; holds what is known at the end of a step."""

    def __init__(self, max_items: int, max_values: int) -> None:
        self._max_items = max_items
        self._max_values = max_values
        self._outline = Outline()
        self._is_in_string = False
        self._depth = 0
        self._n_commas = 0
        """Commas of the list that the last step ended in."""

    def scan(self, body: bytes) -> Outline:
        start = 0
        while start < len(body) and self._depth >= 0:  # otherwise it is no JSON, as the decoder will find
            step = body[start : start + _STEP_BYTES]
            marked = step.rstrip(b"\\")  # a character behind a run of backslashes is found with all of the run
            if len(marked) < len(step):
                run = _BACKSLASHES.match(body, start + len(marked))
                n = run.end() - run.start() if run else 0
                step_end = start + len(marked) + n + n % 2
            else:
                step_end = start + len(step)
            self._step(marked, start)
            start = step_end
        return self._outline

    def _step(self, step: bytes, start: int) -> None:
        if b"\\" in step:
            step = step.replace(b"\\\\", b"..").replace(b'\\"', b"..")
        at = np.flatnonzero(np.frombuffer(step.translate(_IS_MARK), dtype=np.bool_))
        marks = np.frombuffer(step, dtype=np.uint8)[at]
        is_quote = marks == _QUOTE
        is_in_string = (np.cumsum(is_quote) + self._is_in_string) & 1
        if len(is_in_string):
            self._is_in_string = bool(is_in_string[-1])
        is_outside = ~(is_quote | (is_in_string == 1))
        self._count(at[is_outside] + start, marks[is_outside])

    def _count(self, at: Positions, marks: NDArray[np.uint8]) -> None:
        found, change = self._outline, _DEPTH[marks]
        depths = np.cumsum(change, dtype=np.intp) + self._depth
        is_comma, is_opening = marks == _COMMA, change == 1
        found.n_values += int(np.count_nonzero(is_comma)) + int(np.count_nonzero(is_opening))
        opened = at[is_opening & (depths == 2)]
        if len(opened) and not found.n_lists:
            found.start = int(opened[0]) + 1
        found.n_lists += len(opened)
        self._count_items(at[is_comma & (depths == 2)], at[is_comma & (depths == 1)])
        if len(depths):
            self._depth = int(depths[-1])
        if found.n_values > self._max_values:
            raise TooManyValuesError

    def _count_items(self, commas: Positions, members: Positions) -> None:
        """Counts the commas between items of lists; another member begins behind each of `members`."""
        if len(members):
            self._check_items(self._n_commas + int(np.searchsorted(commas, members[0])))
            self._n_commas = len(commas) - int(np.searchsorted(commas, members[-1]))
        else:
            self._n_commas += len(commas)
        self._check_items(self._n_commas)
        cuts = self._outline.cuts
        for at in commas[np.searchsorted(commas // PIECE_BYTES, np.unique(commas // PIECE_BYTES))].tolist():
            if at // PIECE_BYTES != (cuts[-1] // PIECE_BYTES if cuts else 0):
                cuts.append(at)

    def _check_items(self, n_commas: int) -> None:
        if n_commas >= self._max_items:
            raise TooManyItemsError
