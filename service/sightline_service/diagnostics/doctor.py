"""Visits the stations of a deployment in the order in which data flows, up to the first that is broken.

The stations themselves are in `stations`; this module works with any stations, and needs no deployment.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import httpx2 as httpx
from rich.console import Console

Component = Literal["service", "Prometheus", "trace store"]

C = TypeVar("C")


class BrokenError(Exception):
    """A station does not do what it should: what was found there, and the likely cause."""

    def __init__(self, found: str, cause: str) -> None:
        super().__init__(found)
        self.found = found
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Found(Generic[C]):
    """Holds what a check found, and the context for the checks after it if that changes."""

    text: str
    context: C | None = None


@dataclass(frozen=True, slots=True)
class Station(Generic[C]):
    """Describes one station: what is expected of it, whose address its check calls, and the check.

    The check returns what it found, and raises BrokenError, or an error of the HTTP client, if the station is broken.
    """

    name: str
    expected: str
    component: Component
    check: Callable[[C], Found[C]]


@dataclass(frozen=True, slots=True)
class StationResult:
    """Holds what was expected of a station and what was found; a station that is broken has a likely cause."""

    station: str
    expected: str
    found: str
    cause: str | None = None


def examine(stations: Iterable[Station[C]], context: C, addresses: Mapping[Component, str]) -> Iterator[StationResult]:
    """Yields a result for each station, in their order; ends after the first that is broken."""
    for station in stations:
        address = addresses[station.component]
        try:
            found = station.check(context)
        except BrokenError as error:
            text, cause = error.found, error.cause
        except httpx.TransportError as error:
            text = f"no answer from {address} ({error})"
            cause = f"nothing listens at {address}: start the {station.component}, or correct its address"
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError) as error:  # an answer of another shape
            text = f"an odd answer from {address} ({error})"
            cause = f"something else than the {station.component} answers at {address}: correct its address"
        else:
            context = context if found.context is None else found.context
            yield StationResult(station.name, station.expected, found.text)
            continue
        yield StationResult(station.name, station.expected, text, cause)
        return


def report(results: Iterable[StationResult], console: Console) -> bool:
    """Prints one line per station as soon as it is visited; returns True if none is broken."""
    is_well = True
    for result in results:
        is_well = result.cause is None
        mark, style = ("✓", "green") if is_well else ("✗", "red")
        console.print(f"[{style}]{mark} {result.station:9}[/] ", end="")
        console.print(
            f"expected: {result.expected}; found: {result.found}", highlight=False, markup=False, soft_wrap=True
        )
        if result.cause is not None:
            console.print(f"            likely cause: {result.cause}", highlight=False, markup=False, soft_wrap=True)
    return is_well
