"""What tests of the wheels share: the wheels that `make dist` built, and fresh environments to install them in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
INSTALL_S = 600


class Environment:
    """A virtual environment of this Python with nothing in it but what is installed here."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        uv("venv", "--quiet", "--python", sys.executable, str(folder))

    def install(self, *requirements: str) -> None:
        """Installs packages into it."""
        uv("pip", "install", "--quiet", "--python", str(self.python), *requirements)

    def distributions(self) -> set[str]:
        """Names of all distributions that are installed."""
        names = "import importlib.metadata as m; print(*(each.name.lower() for each in m.distributions()))"
        return set(self.run([self.python, "-c", names], ROOT).split())

    def run(self, command: Sequence[str | Path], folder: Path, **variables: str) -> str:
        """Runs a command in a folder with no variable of this process but PATH, and returns what it prints."""
        environment = {"PATH": f"{self.python.parent}:{os.environ['PATH']}", "HOME": str(folder), **variables}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def uv(*arguments: str) -> None:
    """Runs the uv that the Makefile uses."""
    program = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=INSTALL_S)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def wheels() -> dict[str, Path]:
    """The two wheels of dist/ by their distributions. Fails if they are not built."""
    found = {path.name.split("-")[0].replace("_", "-"): path for path in DIST.glob("*.whl")}
    assert found.keys() == {"sightline-service", "sightline-telemetry"}, "build them with `make dist`"
    return found


@pytest.fixture(scope="session")
def service(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Both wheels beside pandas 2.2 and scikit-learn 1.5."""
    made = Environment(tmp_path_factory.mktemp("service") / "venv")
    made.install(*map(str, wheels.values()), "pandas==2.2.*", "scikit-learn==1.5.*")
    return made


@pytest.fixture(scope="session")
def library(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel of sightline-telemetry alone."""
    made = Environment(tmp_path_factory.mktemp("library") / "venv")
    made.install(str(wheels["sightline-telemetry"]))
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of a user's, with folders called `service` and `telemetry` of its own."""
    for name in ("service", "telemetry"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'"""The {name} of another project."""\n')
    return tmp_path
