"""One version everywhere: what is written down twice says the same."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
RUNTIME = {requirement.name: requirement for requirement in map(Requirement, PROJECT["project"]["dependencies"])}
TOLD = sorted(name for name in RUNTIME if name == "scikit-learn" or name.startswith("opentelemetry-"))


def _locked() -> dict[str, str]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"]}


def _environment_file() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _builder_versions() -> dict[str, str]:
    """Go module -> its version, of every component that the collector of the test stack is built of."""
    manifest = yaml.safe_load((ROOT / "otel-collector/builder.yaml").read_text())
    kinds = ("receivers", "processors", "exporters", "connectors", "extensions")
    modules = [component["gomod"].split() for kind in kinds for component in manifest.get(kind, [])]
    return {"dist": f"v{manifest['dist']['version']}", **dict(modules)}


def _workflow_steps() -> list[dict[str, Any]]:
    return [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize(("component", "built"), _builder_versions().items())
def test_collector_is_built_of_one_version(component: str, built: str) -> None:
    """The builder, which .env names, and each of its components are of one release; otherwise it does not build."""
    assert built == f"v{_environment_file()['COLLECTOR_VERSION']}", component


@pytest.mark.parametrize("name", TOLD)
def test_locked_and_installed_as_declared(name: str) -> None:
    """What pyproject.toml asks for is what uv.lock holds and what these tests run on."""
    assert RUNTIME[name].specifier.contains(_locked()[name], prereleases=True)
    assert version(name) == _locked()[name]


def test_opentelemetry_is_pinned_to_one_release() -> None:
    """Stable and experimental packages come out together; mixing two releases drags the stack back."""
    pins = {name: str(RUNTIME[name].specifier) for name in TOLD if name.startswith("opentelemetry-")}
    experimental = {pin for name, pin in pins.items() if re.fullmatch(r"==0\.\d+b\d+", pin)}
    stable = set(pins.values()) - experimental
    assert (len(experimental), len(stable)) == (1, 1), pins
    assert stable == {f"=={_locked()['opentelemetry-api']}"}
    assert experimental == {f"=={_locked()['opentelemetry-semantic-conventions']}"}


def test_scikit_learn_stays_within_one_minor_version() -> None:
    """A model is loaded by the minor version that fitted it."""
    minor = ".".join(_locked()["scikit-learn"].split(".")[:2])
    specifier = RUNTIME["scikit-learn"].specifier
    assert not specifier.contains(f"{minor.split('.')[0]}.{int(minor.split('.')[1]) + 1}.0")
    assert specifier.contains(f"{minor}.99")


def test_uv_is_pinned_once() -> None:
    """CI gets the uv that the Makefile pins: through the Makefile, or from an action told the same version."""
    pinned = re.findall(r"^UV_VERSION := (\d+\.\d+\.\d+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(pinned) == 1
    actions = [step["with"]["version"] for step in _workflow_steps() if "setup-uv" in step.get("uses", "")]
    assert actions in ([], pinned)
    scripts = [(ROOT / ".ci/run").read_text(), *(step.get("run", "") for step in _workflow_steps())]
    assert [found for script in scripts for found in re.findall(r"\buv==?(\S+)", script) if found not in pinned] == []


def test_lowest_python_is_the_one_that_ci_runs() -> None:
    """What pyproject.toml promises as the lowest Python is checked: by ruff, and by running on it in CI."""
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    in_ci = {step["with"]["python-version"] for step in _workflow_steps() if "setup-python" in step.get("uses", "")}
    assert in_ci == {lowest}


def test_cached_stack_is_keyed_by_what_it_is_built_from() -> None:
    """A new version of a backend, or a new component of the collector, is never answered by an old cache."""
    keys = [step["with"]["key"] for step in _workflow_steps() if "actions/cache" in step.get("uses", "")]
    assert len(keys) == 1
    for source in (".env", "otel-collector/builder.yaml", "tests/stack/build.sh"):
        assert (ROOT / source).is_file()
        assert f"'{source}'" in keys[0]
