"""One version everywhere: what is written down twice says the same."""

import re
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
DISTRIBUTIONS = {
    folder: tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    for folder in ("telemetry", "service")
}
RUNTIME = {
    requirement.name: requirement
    for project in DISTRIBUTIONS.values()
    for requirement in map(Requirement, project["dependencies"])
}
TOLD = sorted(RUNTIME.keys() - {"sightline-telemetry"})


@cache
def _locked() -> dict[str, set[str]]:
    """Package -> its versions; some have one for each of several Pythons."""
    found: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        found.setdefault(package["name"], set()).add(package["version"])
    return found


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


def _strings(group: list[Any]) -> list[str]:
    """The requirements of a dependency group, without the groups that it includes."""
    return [each for each in group if isinstance(each, str)]


@pytest.mark.parametrize(("component", "built"), _builder_versions().items())
def test_collector_is_built_of_one_version(component: str, built: str) -> None:
    """The builder, which .env names, and each of its components are of one release; otherwise it does not build."""
    assert built == f"v{_environment_file()['COLLECTOR_VERSION']}", component


@pytest.mark.parametrize("name", TOLD)
def test_locked_and_installed_as_declared(name: str) -> None:
    """What pyproject.toml asks for is what uv.lock holds and what these tests run on."""
    assert RUNTIME[name].specifier.contains(version(name), prereleases=True)
    assert version(name) in _locked()[name]


def test_the_two_distributions_have_one_version() -> None:
    """Both are released together, and the service asks for the telemetry of its own release."""
    (version_of,) = {project["version"] for project in DISTRIBUTIONS.values()}
    assert str(RUNTIME["sightline-telemetry"].specifier) == f"=={version_of}"


def test_uv_is_pinned_once() -> None:
    """CI gets the uv that the Makefile pins: through the Makefile, or from an action told the same version."""
    pinned = re.findall(r"^UV_VERSION := (\d+\.\d+\.\d+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(pinned) == 1
    actions = [step["with"]["version"] for step in _workflow_steps() if "setup-uv" in step.get("uses", "")]
    assert actions in ([], pinned)
    scripts = [(ROOT / ".ci/run").read_text(), *(step.get("run", "") for step in _workflow_steps())]
    assert [found for script in scripts for found in re.findall(r"\buv==?(\S+)", script) if found not in pinned] == []


def test_lowest_python_is_the_one_that_ci_runs() -> None:
    """The lowest Python of pyproject.toml is the one that ruff checks for and that .ci/run runs on."""
    (lowest,) = {project["requires-python"].removeprefix(">=") for project in DISTRIBUTIONS.values()}
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    steps = [step for step in WORKFLOW["jobs"]["test"]["steps"] if "setup-python" in step.get("uses", "")]
    assert [step["with"]["python-version"] for step in steps] == [lowest]


def test_ci_runs_each_python_that_is_claimed() -> None:
    """The classifiers of both distributions are the Pythons of the workflow's matrix, and of `make test-pythons`."""
    matrix = WORKFLOW["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    for project in DISTRIBUTIONS.values():
        claimed = [text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text]
        assert claimed == matrix
    (minors,) = re.findall(r"^MINORS = \((.+)\)$", (ROOT / "tests/packaging/pythons.py").read_text(), re.MULTILINE)
    assert [f"3.{minor}" for minor in minors.split(", ")] == matrix


@pytest.mark.parametrize("name", sorted({step["uses"] for step in _workflow_steps() if "uses" in step}))
def test_actions_are_pinned_by_commit(name: str) -> None:
    """Each action of the workflow is named by a commit, with its release in a comment."""
    assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name)
    lines = [line for line in (ROOT / ".github/workflows/ci.yaml").read_text().splitlines() if name in line]
    assert all(re.search(r" # v\d+\.\d+\.\d+$", line) for line in lines)


def test_upper_bounds_are_few() -> None:
    """OpenTelemetry ends before its next major version; nothing else has an upper bound."""
    requirements = [
        Requirement(text)
        for project in DISTRIBUTIONS.values()
        for texts in (project["dependencies"], *project["optional-dependencies"].values())
        for text in texts
    ]
    bounded = {each.name for each in requirements if any(part.operator in ("<", "<=") for part in each.specifier)}
    assert bounded == {each.name for each in requirements if each.name.startswith("opentelemetry-")}


def test_sync_brings_every_extra() -> None:
    """Plain `uv sync` brings both packages with all their extras, whether or not a test needs each."""
    asked = {each.name: each.extras for each in map(Requirement, _strings(PROJECT["dependency-groups"]["dev"]))}
    service = DISTRIBUTIONS["service"]["optional-dependencies"]
    assert asked["sightline-service"] == service.keys()
    assert asked["sightline-telemetry"] == DISTRIBUTIONS["telemetry"]["optional-dependencies"].keys()


def test_cached_stack_is_keyed_by_what_it_is_built_from() -> None:
    """A new version of a backend, or a new component of the collector, is never answered by an old cache."""
    keys = [step["with"]["key"] for step in _workflow_steps() if "actions/cache" in step.get("uses", "")]
    assert len(keys) == 1
    for source in (".env", "otel-collector/builder.yaml", "tests/stack/build.sh"):
        assert (ROOT / source).is_file()
        assert f"'{source}'" in keys[0]
