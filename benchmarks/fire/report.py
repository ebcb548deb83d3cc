"""What a scenario prints: a table of what was measured, and which promises it breaks."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.fire.profile import FireProfile


class Report:
    """A table that grows by rows, and the promises that were found broken."""

    def __init__(self, title: str, columns: Sequence[str]) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows: list[tuple[str, ...]] = []
        self.broken: list[str] = []

    def add(self, *cells: object) -> None:
        """Adds a row; whole numbers are written with separators."""
        self.rows.append(tuple(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells))

    def require(self, what: str, is_met: bool) -> None:  # it reads as a sentence
        """Notes a promise that is not kept."""
        if not is_met:
            self.broken.append(what)

    def show(self, console: Console) -> None:
        """Prints the table, and below it what is broken."""
        table = Table(*self.columns, title=self.title, title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for what in self.broken:
            console.print(f"broken: {what}", style="red")


Scenario = Callable[[FireProfile, Console, int], Report]
"""Runs at some size, shows its progress on a console, and takes the seed of what is random."""
