"""docker-compose.yaml, the service's image and CI: valid, pinned, and at one with .env and the stack that tests run."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE_TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "service" / "Dockerfile").read_text()
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
ENVIRONMENT = dict(
    line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if line and not line.startswith("#")
)
PINNED_BY = {
    "otel/opentelemetry-collector-contrib": "${COLLECTOR_VERSION}",
    "prom/prometheus": "v${PROMETHEUS_VERSION}",
    "grafana/tempo": "${TEMPO_VERSION}",
    "grafana/grafana": "${GRAFANA_VERSION}",
    "sightline": "local",
}
UID = "10001"
"""Under which the images of collector, Tempo and service run."""

CANNOT_TELL = {"collector": "its image is empty but for the binary", "owner": "runs once", "replay": "serves nothing"}


def _mounts(service: str) -> list[tuple[str, str, bool]]:
    """Source, target and whether it is read-only."""
    parts = [mount.split(":") for mount in SERVICES[service].get("volumes", ())]
    return [(source, target, mode == ["ro"]) for source, target, *mode in parts]


def _validate(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _copied() -> list[str]:
    """What the Dockerfile takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def _argument(name: str) -> str:
    (value,) = re.findall(rf"^ARG {name}=(\S+)$", DOCKERFILE, re.MULTILINE)
    return str(value)


@pytest.mark.parametrize("file", ["docker-compose.yaml", "tests/compose/short-window.yaml"])
def test_compose_is_valid(file: str) -> None:
    """Each file for Docker Compose fits the schema of the compose specification."""
    _validate("vendor.compose-spec", file)


def test_workflow_is_valid() -> None:
    """ci.yaml fits GitHub's schema of workflows."""
    _validate("vendor.github-workflows", ".github/workflows/ci.yaml")


def test_every_variable_is_in_the_environment_file() -> None:
    """Each `${VARIABLE}` of docker-compose.yaml has its value in .env."""
    assert set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT)) - ENVIRONMENT.keys() == set()


def test_every_line_of_the_environment_file_is_used() -> None:
    """What .env sets is read by docker-compose.yaml, or by the build of the test stack."""
    readers = COMPOSE_TEXT + (ROOT / "tests" / "stack" / "build.sh").read_text()
    assert [name for name in ENVIRONMENT if not re.search(rf"\${{?{name}\b", readers)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    """Each image has the version of .env, which is the one that the test stack builds."""
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert tag == PINNED_BY[image]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_bound_to_this_machine(name: str) -> None:
    """No other machine on the network reaches the stack, and every port is named in .env."""
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT\}:\d+", port)


def test_ports_do_not_collide() -> None:
    """Each port of .env is another one."""
    ports = [value for name, value in ENVIRONMENT.items() if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports)
    assert all(1024 <= int(port) < 65536 for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_path_exists(name: str) -> None:
    """A path that is not there would be made by Docker, as an empty folder of root's; ours are mounted read-only."""
    for source, _, is_read_only in _mounts(name):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert is_read_only, source
        else:
            assert source in COMPOSE["volumes"]


def test_files_that_commands_name_are_mounted() -> None:
    """A config file in a command lies in a mounted folder, and in the repository, whichever backends are chosen."""
    for name in ("collector", "prometheus", "tempo"):
        (folder, target) = next((source, target) for source, target, _ in _mounts(name) if source.startswith("."))
        paths = [found for word in SERVICES[name]["command"] for found in re.findall(r"=(/etc/\S+)", word)]
        assert paths
        for path in paths:
            file = re.sub(r"\$\{(\w+)\}", lambda match: ENVIRONMENT[match[1]], path.removeprefix(f"{target}/"))
            assert (ROOT / folder / file).exists(), path


def test_the_choice_of_backends_reaches_the_collector() -> None:
    """Each variable of a backend's file can be set from outside."""
    backends = (ROOT / "otel-collector" / "backends").glob("*.yaml")
    asked = {name for file in backends for name in re.findall(r"\$\{env:(\w+)", file.read_text())}
    assert set(SERVICES["collector"]["environment"]) == asked


def test_volumes_have_the_right_owner() -> None:
    """The two images without a shell are given their volumes by `owner`, before they start."""
    given = {source: target for source, target, _ in _mounts("owner")}
    assert SERVICES["owner"]["entrypoint"] == ["chown", f"{UID}:{UID}", *given.values()]
    needed = {source for name in ("collector", "tempo") for source, _, _ in _mounts(name) if not source.startswith(".")}
    assert given.keys() == needed
    for name in ("collector", "tempo"):
        assert SERVICES[name]["depends_on"]["owner"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", SERVICES.keys() - CANNOT_TELL.keys())
def test_health_is_checked(name: str) -> None:
    """Whatever can tell its own health is asked, so that `up --wait` ends when the stack is ready."""
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_prometheus_runs_with_the_flags_of_the_test_stack() -> None:
    """What stack tests show of Prometheus holds in compose."""
    stack = (ROOT / "tests" / "stack" / "processes.py").read_text()
    shown = set(re.findall(r'"(--(?:web\.enable|enable-feature)[^"]*)"', stack))
    assert len(shown) >= 2
    assert {
        word for word in SERVICES["prometheus"]["command"] if re.match("--(web.enable|enable-feature)", word)
    } == shown


def test_grafana_is_told_where_its_sources_are() -> None:
    """Each variable of the provisioned data sources is set for Grafana."""
    text = (ROOT / "grafana" / "provisioning" / "datasources" / "datasources.yaml").read_text()
    assert set(re.findall(r"(?<!\$)\$(GRAFANA_\w+)", text)) <= SERVICES["grafana"]["environment"].keys()


def test_home_is_a_dashboard() -> None:
    """Grafana opens with a dashboard that is mounted."""
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    (folder,) = [
        source for source, target, _ in _mounts("grafana") if home.startswith(f"{target}/") and source[0] == "."
    ]
    assert (ROOT / folder / Path(home).name).is_file()


def test_image_runs_the_python_of_ci() -> None:
    """The service's Python is the one that its tests ran on."""
    steps = WORKFLOW["jobs"]["test"]["steps"]
    in_ci = {step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")}
    assert {_argument("PYTHON_VERSION")} == in_ci


def test_image_is_built_by_the_uv_of_the_makefile() -> None:
    """One uv reads the lock file everywhere."""
    assert f"UV_VERSION := {_argument('UV_VERSION')}\n" in (ROOT / "Makefile").read_text()


def test_image_is_made_of_pinned_ones() -> None:
    """Each FROM names a version by an argument of the Dockerfile; the last stage starts from a bare Python."""
    bases = [base for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if ":" in base]
    assert all("${" in base and "latest" not in base for base in bases)
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "python:${PYTHON_VERSION}-slim-bookworm"


def test_image_holds_the_lock_file_and_no_development() -> None:
    """Every installation is frozen, and without the tools that only developers need."""
    assert all("--frozen --no-dev" in line for line in re.findall(r"^RUN .*uv sync.*$", DOCKERFILE, re.MULTILINE))


def test_image_does_not_run_as_root() -> None:
    """The last stage names its user, by number, so that Kubernetes can see that it is not root."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE) == [f"{UID}:{UID}"]


@pytest.mark.parametrize("source", _copied())
def test_what_the_image_copies_reaches_it(source: str) -> None:
    """Each source of a COPY is in the repository and let through by .dockerignore."""
    assert (ROOT / source).exists()
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    is_ignored = False
    for line in lines:
        pattern = line.removeprefix("!")
        if fnmatch(source, pattern) or fnmatch(source, f"{pattern}/*"):
            is_ignored = not line.startswith("!")
    assert not is_ignored


def test_local_command_is_what_ci_runs() -> None:
    """CI tests compose by the command that anyone with Docker can run."""
    commands = [step.get("run", "") for step in WORKFLOW["jobs"]["compose"]["steps"]]
    assert "make compose-test" in commands
    assert "\ncompose-test:" in (ROOT / "Makefile").read_text()
