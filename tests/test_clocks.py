"""Tests that run in `make test-fast` compare no time that has passed: on a busy machine it says nothing of the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Functions that read the time that has passed, and what a response of the HTTP client has of it.
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns", "now", "total_seconds"}

ORDER = ast.Lt | ast.LtE | ast.Gt | ast.GtE

# Only tests of the stack, which are marked, use what stands in these folders.
STACK = {TESTS / "stack", TESTS / "compose"}

# file::function -> why it may compare times all the same.
ALLOWED = {
    "service/server/test_protocol.py::test_head_and_body_in_two_packets_bypass_asgi": (
        "one clock read in order: a part of an interval is not longer than the whole, however busy the machine is"
    ),
    "telemetry/events/test_memory.py::test_another_process_reads_the_header": "a clock read between two readings of it",
    "telemetry/events/test_memory.py::test_a_worker_that_ends_leaves_how_it_ended": "the same, of the monotonic clock",
}


def is_marked(node: ast.AST) -> bool:
    """Returns whether `pytest.mark.slow` or `pytest.mark.stack` is anywhere in a decorator or in `pytestmark`."""
    return any(isinstance(each, ast.Attribute) and each.attr in ("slow", "stack") for each in ast.walk(node))


def reads_clock(node: ast.AST, names: set[str]) -> bool:
    """Returns whether an expression reads a clock, or a name whose value comes from one."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id in names:
            return True
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name | ast.Attribute):
            name = each.func.id if isinstance(each.func, ast.Name) else each.func.attr
            if name in CLOCKS:
                return True
    return False


def timed_names(function: ast.AST) -> set[str]:
    """Returns the names that a function binds to times, directly, through other names or by `append`."""
    names: set[str] = set()
    while True:
        found = set(names)
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=[target], value=value) if reads_clock(value, names):
                    found.update(each.id for each in ast.walk(target) if isinstance(each, ast.Name))
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value]):
                    found.update({name} if reads_clock(value, names) else set())
        if found == names:
            return names
        names = found


def comparisons(path: Path) -> Iterator[tuple[str, int]]:
    """Yields the function and the line of each comparison of times in what `make test-fast` runs of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    marks = [
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]
    if any(is_marked(node.value) for node in marks):
        return
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        if any(is_marked(decorator) for decorator in function.decorator_list):
            continue
        names = timed_names(function)
        for node in ast.walk(function):
            if not isinstance(node, ast.Compare) or not any(isinstance(each, ORDER) for each in node.ops):
                continue
            if reads_clock(node, names):
                yield function.name, node.lineno


def test_no_comparison_with_a_clock() -> None:
    """Every comparison of times is in a test marked `slow` or `stack`, or stands in the list with its reason."""
    files = [path for path in TESTS.rglob("*.py") if not STACK & set(path.parents)]
    found = {
        f"{path.relative_to(TESTS).as_posix()}::{name}": line for path in files for name, line in comparisons(path)
    }
    assert sorted(f"{place} in line {line}" for place, line in found.items() if place not in ALLOWED) == []
    assert set(ALLOWED) <= set(found), "the list names what is no longer there"


@pytest.mark.parametrize(
    ("source", "n_found"),
    [
        ("def test(): assert time.monotonic() - start < 2", 1),
        ("def test():\n start = perf_counter()\n took = perf_counter() - start\n assert took < 1", 1),
        ("def test():\n waits = []\n waits.append(monotonic())\n assert max(waits) < 1", 1),
        ("def test(): assert response.elapsed.total_seconds() < 2", 1),
        ("def test(): assert process_time() - start < 2", 0),
        ("@pytest.mark.slow\ndef test(): assert monotonic() < 2", 0),
        ("pytestmark = pytest.mark.stack\ndef test(): assert monotonic() < 2", 0),
    ],
)
def test_comparisons_are_found(tmp_path: Path, source: str, n_found: int) -> None:
    """A comparison is found through names and lists of times; CPU time and marked tests are left out."""
    (tmp_path / "test_it.py").write_text(source)
    assert len(list(comparisons(tmp_path / "test_it.py"))) == n_found
