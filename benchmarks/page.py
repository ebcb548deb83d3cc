"""The page of results, written after each chapter from the measurements so far."""

from collections.abc import Sequence
from typing import Any

from benchmarks.chapter import Chapter
from benchmarks.claims import Claim, claims_table
from benchmarks.machine import machine
from benchmarks.results import Result, Results


def page(chapters: Sequence[Chapter[Any]], results: Results) -> str:
    """What there is, as Markdown: the machine, the claims, then the chapters."""
    found: list[tuple[Chapter[Any], Result[Any]]] = []
    for chapter in chapters:
        result = results.load(chapter.name, chapter.kind)
        if result is not None:
            found.append((chapter, result))
    claims: list[Claim] = [claim for chapter, result in found for claim in chapter.claims(result.value)]
    days = sorted({f"{result.measured:%Y-%m-%d}" for _, result in found})
    lines = [
        "# Results",
        "",
        f"Written by `make bench`; measured on {' to '.join(dict.fromkeys((days[0], days[-1])))}. "
        "[README.md](README.md) says what the servers are and how they are measured.",
        "",
        *machine(),
        "",
        "## What is asked, and what was measured",
        "",
        *claims_table(claims),
    ]
    for chapter, result in found:
        lines += ["", f"## {chapter.title}", "", *chapter.section(result.value)]
    return "\n".join([*lines, ""])
