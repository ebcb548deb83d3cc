"""A chapter of the page of results: how it is measured, what is claimed of it, and how it reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.console import Console

from benchmarks.claims import Claim
from benchmarks.profile import RunProfile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chapter(Generic[T]):
    """name: on the command line. kind: the type of what is measured.

    measure: prints as it goes, and gives what there is so far after each step. section: lines of Markdown.
    """

    name: str
    title: str
    kind: Any
    measure: Callable[[RunProfile, Console], Iterator[T]]
    section: Callable[[T], list[str]]
    claims: Callable[[T], Sequence[Claim]] = lambda _: ()
