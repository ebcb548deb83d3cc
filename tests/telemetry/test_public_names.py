"""The public names are loaded when they are used, and importing a part loads no more than that part."""

import subprocess
import sys

import pytest

import sightline_telemetry

HEAVY = ("numpy", "opentelemetry", "pandas", "polars", "pyarrow", "sklearn", "starlette", "fastapi")


def loaded_by(statement: str) -> set[str]:
    """Those of HEAVY that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("import sightline_telemetry", set()),
        ("import sightline_telemetry; dir(sightline_telemetry)", set()),
        ("import sightline_telemetry.instruments", set()),
        ("import sightline_telemetry.requests.timeline, sightline_telemetry.requests.allowance", set()),
        ("import sightline_telemetry.traces.tail_sampling, sightline_telemetry.faults", set()),
        ("import sightline_telemetry.requests.recording, sightline_telemetry.requests.request_kind", set()),
        ("import sightline_telemetry.events.layout, sightline_telemetry.events.memory", set()),
        ("import sightline_telemetry.counts.fold, sightline_telemetry.counts.reference", {"numpy"}),
        ("import sightline_telemetry.model.drift", {"numpy"}),
        ("import sightline_telemetry.model.profile", {"numpy"}),
        ("from sightline_telemetry import ReferenceProfile, load_profile, save_profile", {"numpy"}),
    ],
)
def test_importing_a_part_loads_that_part(statement: str, loaded: set[str]) -> None:
    """A fresh interpreter loads the libraries of the part that it imports, and no others."""
    assert loaded_by(statement) == loaded


def test_every_public_name_is_found() -> None:
    """Each name of `__all__` can be imported from the package, and `dir` lists it."""
    for name in sightline_telemetry.__all__:
        assert getattr(sightline_telemetry, name).__name__ == name
        assert name in dir(sightline_telemetry)


def test_an_unknown_name_is_refused() -> None:
    """A name that does not exist is an AttributeError which lists the names that do."""
    with pytest.raises(AttributeError, match="no attribute 'Measure'; it has Measurement, ReferenceProfile"):
        sightline_telemetry.Measure  # type: ignore[attr-defined]  # noqa: B018
