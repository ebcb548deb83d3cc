"""Words that were replaced stay replaced: tests/old_words.txt lists them, and no text of the repository has them."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "tests" / "old_words.txt"
NOT_READ = {"tests/old_words.txt", "tests/test_old_words.py", "CHANGELOG.md", "uv.lock", "benchmarks/results.md"}
NOT_TEXT = (".svg", ".png", "LICENSE")


def _rows(text: str) -> list[tuple[str, str]]:
    """Pattern and replacement of each line that is neither empty nor a comment."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(pattern, instead) for pattern, _, instead in (line.partition("\t") for line in lines)]


OLD = _rows(WORDS.read_text(encoding="utf-8"))


@cache
def _tree() -> dict[str, list[str]]:
    """Lines of every text file that git tracks, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607  # git of the PATH, as in a shell
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [path for path in listed.split("\0") if path and path not in NOT_READ and not path.endswith(NOT_TEXT)]
    return {path: (ROOT / path).read_text(encoding="utf-8").splitlines() for path in paths if (ROOT / path).is_file()}


def _places(pattern: str) -> list[str]:
    """Path, number and text of each line that has the word."""
    word = re.compile(pattern)
    return [
        f"{path}:{number}: {line.strip()}"
        for path, lines in _tree().items()
        for number, line in enumerate(lines, 1)
        if word.search(line)
    ]


def test_every_old_word_has_its_replacement() -> None:
    """Each line of the list is a pattern that compiles, a tab, and the word to use; no pattern is listed twice."""
    assert [pattern for pattern, instead in OLD if not instead or re.compile(pattern).search("")] == []
    assert len({pattern for pattern, _ in OLD}) == len(OLD)


@pytest.mark.parametrize(("pattern", "instead"), OLD, ids=[instead for _, instead in OLD])
def test_no_old_word_is_left(pattern: str, instead: str) -> None:
    """No line of the tree has the word."""
    assert _places(pattern) == [], f"use instead: {instead}"
