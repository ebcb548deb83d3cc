"""The public names are those that docs/stability.md lists; a change of one is a change of that page too."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import sightline_service
import sightline_telemetry
from sightline_telemetry.instruments import INSTRUMENTS

PAGE = (Path(__file__).parents[1] / "docs" / "stability.md").read_text(encoding="utf-8")
PACKAGES = {module.__name__: module for module in (sightline_service, sightline_telemetry)}


def _listed(heading: str) -> set[str]:
    """Names in the block that follows a line of the page."""
    block = PAGE.partition(f"\n{heading}\n")[2].lstrip("\n").partition("\n\n")[0]
    return set(block.split())


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_public_python_names_are_on_the_page(package: str) -> None:
    """Each package exports exactly the names that the page lists, and each can be imported."""
    assert _listed(f"`{package}`:") == set(PACKAGES[package].__all__)
    assert all(inspect.getdoc(getattr(PACKAGES[package], name)) for name in PACKAGES[package].__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A package raises AttributeError for a name that it does not export."""
    for module in PACKAGES.values():
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            getattr(module, "nothing")  # noqa: B009  # mypy knows that there is no such name


def test_drop_ins_are_on_the_page() -> None:
    """sightline_telemetry.sklearn has the names that the page lists."""
    module = import_module("sightline_telemetry.sklearn")
    (line,) = [line for line in PAGE.splitlines() if line.startswith("`sightline_telemetry.sklearn`: ")]
    names = re.findall(r"`(\w+)`", line)
    assert len(names) == 3
    assert all(getattr(module, name).__module__ == module.__name__ for name in names)


def test_metric_names_are_on_the_page() -> None:
    """The page lists each metric with its labels, and no metric that does not exist."""
    listed = set(PAGE.partition("\n## Metric names\n")[2].partition("\n    ")[2].replace("\n    ", "\n").split("\n"))
    assert listed - {""} == {
        f"{each.prometheus_name}{{{', '.join(name.replace('.', '_') for name in each.attributes)}}}"
        for each in INSTRUMENTS
    }
