"""Compares the versions of the libraries that a model was made with and those that are installed.

A fitted model is safe to load in the minor version that it was made with, whatever the patch.
"""

import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LOWEST = {"scikit-learn": (1, 5)}
"""The lowest versions that sightline-service itself allows; no advice names an older one."""

_ALWAYS = ("scikit-learn", "numpy", "skops")
_BOOSTERS = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost", "xgboost-cpu")}
"""Libraries that a model may need besides: module -> the distributions that bring it."""

CHECKED = ("scikit-learn", *_BOOSTERS)


def minor_of(text: str) -> tuple[int, ...]:
    """Returns the first two numbers of a version; an empty tuple for what is not a version.

    >>> minor_of("1.5.2"), minor_of("4.6"), minor_of("unknown")
    ((1, 5), (4, 6), ())
    """
    parts = text.split(".")[:2]
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def installed(package: str) -> str | None:
    """Returns the version of a package; None if it is not installed."""
    for distribution in _BOOSTERS.get(package, (package,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def versions_of_model(model_file: Path) -> dict[str, str]:
    """Returns the versions of the libraries that a model written with skops needs, as installed."""
    with zipfile.ZipFile(model_file) as archive:
        schema = archive.read("schema.json").decode()
    needed = [*_ALWAYS, *(module for module in _BOOSTERS if f'"{module}.' in schema or f'"{module}"' in schema)]
    return {package: found for package in needed if (found := installed(package)) is not None}


def mismatch(made_with: Mapping[str, str]) -> str | None:
    """Returns what is wrong with the first library of another minor version, and what to do; None if all fit."""
    for package in CHECKED:
        made, here = made_with.get(package, ""), installed(package)
        if package not in made_with and package != "scikit-learn":
            continue
        if here is None or minor_of(made) != minor_of(here):
            is_here = f"and {here} is installed" if here is not None else "and it is not installed"
            return f"was made with {package} {made or 'of unknown version'}, {is_here}: {advice(package, made)}"
    return None


def advice(package: str, made: str) -> str:
    """Returns how to get a model of an earlier version to load; an older version than allowed is not advised."""
    minor = minor_of(made)
    if not minor or minor < LOWEST.get(package, (0,)):
        return "fit the model and make the bundle again with the installed version"
    return f"install '{package}=={'.'.join(map(str, minor))}.*', or fit the model again with the installed version"
