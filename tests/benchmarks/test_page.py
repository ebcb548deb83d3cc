"""The page of results is written from what was saved, and from nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.chapter import Chapter
from benchmarks.claims import Claim, at_most
from benchmarks.page import page
from benchmarks.results import Results


def _nothing(*_: Any) -> Iterator[Any]:
    yield from ()


CHAPTERS = [
    Chapter(
        "seconds", "Start-up", list[float], _nothing, lambda s: [f"took {s}"], lambda s: [Claim("s", at_most(2), s)]
    ),
    Chapter("bytes", "Memory", int, _nothing, lambda size: [f"has {size}"]),
]


def test_a_page_has_what_was_measured(tmp_path: Path) -> None:
    """A chapter that was not measured is not there; its claims come before all chapters."""
    results = Results(tmp_path)
    results.save("seconds", [1.5, 2.5])
    text = page(CHAPTERS, results)
    assert "## Start-up\n\ntook [1.5, 2.5]\n" in text
    assert "| s | at most 2 | 2.00 (1.50 .. 2.50) | met |" in text.partition("## Start-up")[0]
    assert "Memory" not in text


def test_a_chapter_measured_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """The newest result counts, and one of another shape is none."""
    results = Results(tmp_path)
    results.save("bytes", 1)
    results.save("bytes", 2)
    assert "has 2" in page(CHAPTERS, results)
    results.save("bytes", "many")
    assert results.load("bytes", int) is None
