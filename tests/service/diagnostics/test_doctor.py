"""The doctor's loop and its report, driven by stations that are plain functions; tests/stack has the real ones."""

from collections.abc import Callable, Iterator
from io import StringIO

import httpx2 as httpx
import pytest
from rich.console import Console

from sightline_service.diagnostics.doctor import (
    BrokenError,
    Component,
    Found,
    Station,
    StationResult,
    examine,
    report,
)

ADDRESSES: dict[Component, str] = {
    "service": "http://service:1",
    "Prometheus": "http://prometheus:2",
    "trace store": "http://traces:3",
}
REQUEST = httpx.Request("GET", "http://prometheus:2")

Visits = list[str]
Check = Callable[[Visits], Found[Visits]]


def station(name: str, check: Check, component: Component = "service") -> Station[Visits]:
    """A station of which `it works` is expected."""
    return Station(name, "it works", component, check)


def passing(name: str) -> Station[Visits]:
    """A station that is well, and notes in the context that it was visited."""
    return station(name, lambda visits: Found(f"{name} after {visits}", [*visits, name]))


def raising(error: Exception) -> Check:
    """A check that fails with this error."""

    def check(_: Visits) -> Found[Visits]:
        raise error

    return check


def printed(results: Iterator[StationResult] | list[StationResult]) -> tuple[bool, list[str]]:
    """Returns what `report` returns, and the lines that it prints."""
    output = StringIO()
    return report(results, Console(file=output, width=60)), output.getvalue().splitlines()


def test_stations_are_visited_in_their_order() -> None:
    """Each check gets the context that the check before it returned, and each station yields one result."""
    results = list(examine([passing("a"), passing("b"), passing("c")], [], ADDRESSES))
    assert results == [
        StationResult("a", "it works", "a after []"),
        StationResult("b", "it works", "b after ['a']"),
        StationResult("c", "it works", "c after ['a', 'b']"),
    ]


def test_a_check_may_leave_the_context_as_it_is() -> None:
    """A check that returns no context hands on the one it got."""
    silent = station("silent", lambda _: Found("nothing new"))
    (*_, last) = examine([passing("a"), silent, passing("b")], [], ADDRESSES)
    assert last.found == "b after ['a']"


def test_the_first_broken_station_is_the_last_one_visited() -> None:
    """A station that is broken yields its cause, and no later check is called."""
    broken = station("b", raising(BrokenError("it is dark", "switch it on")))
    never = station("c", raising(AssertionError("visited")))
    results = list(examine([passing("a"), broken, never], [], ADDRESSES))
    assert results == [
        StationResult("a", "it works", "a after []"),
        StationResult("b", "it works", "it is dark", "switch it on"),
    ]


def test_a_station_is_visited_when_its_result_is_wanted() -> None:
    """Results come one by one: the second check is not called before the first result was taken."""
    visited: list[str] = []

    def noting(name: str) -> Station[Visits]:
        def check(_: Visits) -> Found[Visits]:
            visited.append(name)
            return Found(name)

        return station(name, check)

    results = examine([noting("a"), noting("b")], [], ADDRESSES)
    assert next(results).station == "a"
    assert visited == ["a"]


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("connection refused"), httpx.ReadTimeout("timed out")], ids=["refused", "timeout"]
)
def test_no_answer_names_the_address(error: Exception) -> None:
    """A transport error becomes a broken station whose cause names the component and its address."""
    results = list(examine([station("s", raising(error), "trace store"), passing("never")], [], ADDRESSES))
    cause = "nothing listens at http://traces:3: start the trace store, or correct its address"
    assert results == [StationResult("s", "it works", f"no answer from http://traces:3 ({error})", cause)]


@pytest.mark.parametrize(
    "error",
    [
        httpx.HTTPStatusError("404 Not Found", request=REQUEST, response=httpx.Response(404)),
        ValueError("no JSON"),
        KeyError("components"),
        IndexError("list index out of range"),
        TypeError("list indices must be integers"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_odd_answer_names_the_address(error: Exception) -> None:
    """A refusal, or an answer of another shape, becomes a broken station: another program listens there."""
    results = list(examine([station("s", raising(error), "Prometheus"), passing("never")], [], ADDRESSES))
    cause = "something else than the Prometheus answers at http://prometheus:2: correct its address"
    assert results == [StationResult("s", "it works", f"an odd answer from http://prometheus:2 ({error})", cause)]


def test_other_errors_are_not_findings() -> None:
    """An error that says nothing about the deployment is raised."""
    with pytest.raises(RuntimeError, match="a bug"):
        list(examine([station("s", raising(RuntimeError("a bug")))], [], ADDRESSES))


def test_report_prints_one_line_per_station() -> None:
    """If all stations are well the report has one line per station and returns True."""
    results = [StationResult("a", "it works", "it does"), StationResult("exemplar", "[one]", "that leads far" * 9)]
    assert printed(results) == (
        True,
        [
            "✓ a         expected: it works; found: it does",
            f"✓ exemplar  expected: [one]; found: {'that leads far' * 9}",
        ],
    )


def test_report_prints_the_likely_cause() -> None:
    """A broken station has a second line with its likely cause, and the report returns False."""
    results = [StationResult("a", "it works", "it does"), StationResult("b", "it works", "dark", "switch it on")]
    assert printed(results) == (
        False,
        [
            "✓ a         expected: it works; found: it does",
            "✗ b         expected: it works; found: dark",
            "            likely cause: switch it on",
        ],
    )


def test_report_prints_each_line_at_once() -> None:
    """A line is printed before the next station is visited, as a visit may take its whole patience."""
    output = StringIO()

    def results() -> Iterator[StationResult]:
        yield StationResult("a", "it works", "it does")
        assert output.getvalue() == "✓ a         expected: it works; found: it does\n"
        yield StationResult("b", "it works", "it does")

    assert report(results(), Console(file=output, width=200))
