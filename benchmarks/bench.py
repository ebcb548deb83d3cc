"""Measures chapter by chapter, keeps what was measured, and writes the page.

    uv run python -m benchmarks.bench [CHAPTER ...] [--quick]

Without chapters, all of them: about half an hour on two cores. Results are kept in the cache as they come, and the
page benchmarks/results.md is written from all that are there; so one chapter can be measured again alone.
--quick measures too little to say anything, in a few minutes, and touches neither those results nor the page.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console

from benchmarks import bulk, comparison, costs, export, memory, open_loop, scrape, stages, startup, telemetry_parts
from benchmarks.chapter import Chapter
from benchmarks.page import page
from benchmarks.profile import FULL, QUICK
from benchmarks.results import Results
from benchmarks.results_table import Cell
from benchmarks.servers import CACHE

PAGE = Path(__file__).with_name("results.md")
CHAPTERS: Sequence[Chapter[Any]] = (
    *(
        Chapter(model, title, list[Cell], partial(comparison.measure, model), comparison.section, comparison.claims)
        for model, title in (("logistic", "Logistic regression"), ("boosting", "Gradient boosting"))
    ),
    Chapter(
        "parts", "What each part of the telemetry costs", list[Cell], telemetry_parts.measure, telemetry_parts.section
    ),
    Chapter(
        "open",
        "Latency at a set rate",
        list[open_loop.Latencies],
        open_loop.measure,
        open_loop.section,
        open_loop.claims,
    ),
    Chapter("bulk", "Large requests", list[bulk.Bulk], bulk.measure, bulk.section, bulk.claims),
    Chapter("startup", "Start-up", list[startup.StartUp], startup.measure, startup.section),
    Chapter("memory", "Memory", memory.Memory, memory.measure, memory.section, memory.claims),
    Chapter("scrape", "A scrape", scrape.ScrapeCost, scrape.measure, scrape.section, scrape.claims),
    Chapter("export", "An export", export.ExportCost, export.measure, export.section),
    Chapter("stages", "Where a request's time goes", stages.Profiles, stages.measure, stages.section),
    Chapter("costs", "Pieces, in one process", list[costs.Cost], costs.measure, costs.section),
)


def main() -> None:
    """Measures the chapters that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help=", ".join(chapter.name for chapter in CHAPTERS))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    names = [chapter.name for chapter in CHAPTERS]
    if unknown := sorted(set(given.chapters) - set(names)):
        parser.error(f"there is no chapter {', '.join(unknown)}; there are {', '.join(names)}")
    run_profile, results, path = (FULL, Results(CACHE / "results"), PAGE)
    if given.quick:
        run_profile, results, path = (QUICK, Results(CACHE / "quick"), CACHE / "quick" / PAGE.name)
    console = Console(soft_wrap=True, highlight=False)
    start, failed = monotonic(), []
    for chapter in CHAPTERS:
        if given.chapters and chapter.name not in given.chapters:
            continue
        console.rule(f"{chapter.name}: {chapter.title} ({(monotonic() - start) / 60:.0f} min so far)")
        try:
            for value in chapter.measure(run_profile, console):
                results.save(chapter.name, value)
                path.write_text(page(CHAPTERS, results), encoding="utf-8")
        except Exception:  # the other chapters are worth having
            console.print_exception()
            failed.append(chapter.name)
    console.print(f"written to {path} after {(monotonic() - start) / 60:.1f} min")
    if failed:
        sys.exit(f"not measured to the end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
