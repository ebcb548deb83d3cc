"""The page of results is written from what was saved, and from nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import CHAPTERS
from benchmarks.chapter import Chapter
from benchmarks.claims import Claim, at_most
from benchmarks.page import page
from benchmarks.results import Results

README = Path(__file__).parents[2] / "benchmarks" / "README.md"


def _nothing(*_: Any) -> Iterator[Any]:
    yield from ()


SMALL = [
    Chapter(
        "seconds", "Start-up", list[float], _nothing, lambda s: [f"took {s}"], lambda s: [Claim("s", at_most(2), s)]
    ),
    Chapter("bytes", "Memory", int, _nothing, lambda size: [f"has {size}"]),
]


def test_a_page_has_what_was_measured(tmp_path: Path) -> None:
    """A chapter that was not measured is not there; its claims come before all chapters."""
    results = Results(tmp_path)
    results.save("seconds", [1.5, 2.5])
    text = page(SMALL, results)
    assert "## Start-up\n\ntook [1.5, 2.5]\n" in text
    assert "| s | at most 2 | 2.00 (1.50 .. 2.50) | met |" in text.partition("## Start-up")[0]
    assert "Memory" not in text


def test_a_chapter_measured_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """The newest result counts, and one of another shape is none."""
    results = Results(tmp_path)
    results.save("bytes", 1)
    results.save("bytes", 2)
    assert "has 2" in page(SMALL, results)
    results.save("bytes", "many")
    assert results.load("bytes", int) is None


def test_every_chapter_is_in_the_readme() -> None:
    """Each chapter has a name of its own, and a row in the folder's README says what it measures."""
    names = [chapter.name for chapter in CHAPTERS]
    assert len(set(names)) == len(names)
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [name for name in names if not any(f"`{name}`" in row for row in rows)] == []
