"""The wheels, installed as a user installs them, beside a project whose folders have the names of ours."""

import email
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.packaging.conftest import DIST, ROOT, Environment
from tests.stack.processes import Process, free_port

pytestmark = [pytest.mark.dist, pytest.mark.slow]

DISTRIBUTIONS = ("sightline-service", "sightline-telemetry")

MAKE_A_MODEL = """
import numpy as np, pandas as pd, skops.io
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
random = np.random.default_rng(3)
X = pd.DataFrame({"age": random.normal(40, 12, 400).round(1), "plan": random.choice(["free", "paid"], 400)})
y = pd.Series(np.where(X["age"] > 40, "yes", "no"), name="churned")
encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), remainder="passthrough")
skops.io.dump(make_pipeline(encode, LogisticRegression()).fit(X, y), "churn.skops")
X.assign(churned=y).to_csv("churn.csv", index=False)
"""

TYPED = """
import numpy as np

from sightline_telemetry import Measurement, ReferenceProfile, profile_frame

rows = {"age": np.array([31.0, 52.0, 47.0]), "plan": np.array(["free", "paid", "paid"])}
outcomes = np.array(["no", "yes", "yes"])
profile: ReferenceProfile = profile_frame(rows, outcomes, outcomes)
with Measurement("churn", "3", profile) as measure:
    measure(rows, outcomes)
    body, content_type = measure.scrape("text/plain")
"""
WRONG = """
measure.scrape(accept=1)
Measurement("churn", profile)
"""

MEASURE = """
import sys
import numpy as np
from sightline_telemetry import Measurement, profile_frame

age, plan = np.array([31.0, 52.0, 47.0, 28.0]), np.array(["free", "paid", "paid", "free"])
outcomes = np.array(["no", "yes", "yes", "no"])
profile = profile_frame({"age": age, "plan": plan}, outcomes, outcomes)
with Measurement("churn", "3", profile) as measure:
    measure({"age": age, "plan": plan}, outcomes)
    measure([{"age": 90.0, "plan": "gold"}], np.array(["yes"]))
    print(measure.scrape()[0].decode())
assert not {"pandas", "sklearn", "fastapi", "sqlalchemy"} & sys.modules.keys()
"""


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(files.read(name))


def _mypy(environment: Environment, file: Path) -> tuple[int, list[str]]:
    """Exit code and errors of `mypy --strict` on one file, with the packages of an environment."""
    options = ("--strict", "--config-file=", "--no-error-summary", "--cache-dir", str(file.parent / ".mypy_cache"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--python-executable", str(environment.python), file.name],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def _value(scrape: str, name: str, **labels: str) -> float:
    """The value of the one series of a scrape that has these labels."""
    lines = [line for line in scrape.splitlines() if re.match(rf"{name}[{{ ]", line)]
    (line,) = [line for line in lines if all(f'{key}="{value}"' in line for key, value in labels.items())]
    return float(line.partition("} ")[2].split()[0])


@contextmanager
def _served(environment: Environment, bundle: str, project: Path) -> Iterator[str]:
    """The address of `sightline serve`, started in a user's project."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (str(environment.python.parent / "sightline"), "serve", bundle, "--port", str(port))
    script = f'cd "{project}" && exec "$@"'
    variables = {"PYTHONPATH": ".", "HOME": str(project), "SIGHTLINE_REQUEST_LOG": "false"}
    with Process("service", ["sh", "-c", script, "sh", *command], f"{url}/readyz", project / "log", variables):
        yield url


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_wheel_holds_its_package_types_and_license(wheels: dict[str, Path], name: str) -> None:
    """A wheel holds the modules of its one package, `py.typed` and the license: no tests, no Dockerfile."""
    package = name.replace("-", "_")
    with zipfile.ZipFile(wheels[name]) as files:
        names = {Path(path) for path in files.namelist() if ".dist-info/" not in path}
        licenses = [path for path in files.namelist() if path.endswith(".dist-info/licenses/LICENSE")]
    source = ROOT / name.removeprefix("sightline-")
    assert names == {path.relative_to(source) for path in source.glob(f"{package}/**/*.py")} | {
        Path(package) / "py.typed"
    }
    assert len(licenses) == 1


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_page_on_pypi_is_readable(wheels: dict[str, Path], name: str) -> None:
    """A wheel's page is Markdown whose links are absolute, with the project's addresses beside it."""
    metadata = _metadata(wheels[name])
    page = metadata.get_payload()
    assert isinstance(page, str)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert [target for target in re.findall(r"\]\(([^)]+)\)", page) if not target.startswith("https://")] == []
    addresses = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert addresses.keys() == {"Repository", "Documentation", "Changelog", "Issues"}
    on_github = re.findall(r"https://github\.com/[^)\s]+", page)
    assert [target for target in on_github if not target.startswith(addresses["Repository"])] == []


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_both_kinds_of_distribution_are_built(name: str) -> None:
    """`make dist` builds a source distribution beside each wheel."""
    assert len(list(DIST.glob(f"{name.replace('-', '_')}-*.tar.gz"))) == 1


def test_the_command_runs_beside_folders_of_the_same_names(
    service: Environment, wheels: dict[str, Path], project: Path
) -> None:
    """`sightline --version` prints the wheel's version in a project with a `service/` of its own on PYTHONPATH."""
    printed = service.run([service.python.parent / "sightline", "--version"], project, PYTHONPATH=".")
    assert _metadata(wheels["sightline-service"])["Version"] in printed


@pytest.mark.parametrize("name", ["service", "library"])
def test_types_arrive(request: pytest.FixtureRequest, project: Path, name: str) -> None:
    """`mypy --strict` accepts a user's lines, and reports each wrong call."""
    environment = request.getfixturevalue(name)
    (project / "right.py").write_text(TYPED)
    assert _mypy(environment, project / "right.py") == (0, [])
    (project / "wrong.py").write_text(TYPED + WRONG)
    code, errors = _mypy(environment, project / "wrong.py")
    assert code == 1
    assert {re.sub(r".*\[([a-z-]+)\]$", r"\1", error) for error in errors if ": error: " in error} == {
        "arg-type",
        "call-arg",
    }


def test_a_model_is_bundled_served_and_measured(service: Environment, project: Path) -> None:
    """On pandas 2.2 and scikit-learn 1.5 a model becomes a bundle, answers a request and counts it."""
    service.run([service.python, "-c", MAKE_A_MODEL], project)
    files = ["--model", "churn.skops", "--data", "churn.csv", "--target", "churned"]
    names = ["--name", "churn", "--version", "3", "--out", "churn-3"]
    service.run([service.python.parent / "sightline", "bundle", *files, *names], project, PYTHONPATH=".")
    with _served(service, "churn-3", project) as url:
        rows = {"instances": [{"age": 71.0, "plan": "paid"}, {"age": 18.5, "plan": "gold"}]}
        answer = httpx.post(f"{url}/predict/model", json=rows)
        scrape = httpx.get(f"{url}/metrics").text
    assert answer.status_code == 200, answer.text
    assert [each["outcome"] for each in answer.json()["predictions"]] == ["yes", "no"]
    assert answer.json()["model"] == {"name": "churn", "version": "3"}
    assert _value(scrape, "ml_predictions_total", outcome="yes") == 1
    assert _value(scrape, "ml_feature_categories_total", feature="plan", category="__unseen__") == 1
    manifest = json.loads((project / "churn-3" / "manifest.json").read_text())
    assert "1.5." in json.dumps(manifest)


def test_the_library_brings_little(library: Environment) -> None:
    """sightline-telemetry installs no data frame, no model, no web framework and no database."""
    installed = library.distributions()
    assert "sightline-telemetry" in installed
    assert installed & {"pandas", "polars", "pyarrow", "scikit-learn", "fastapi", "sqlalchemy", "grpcio"} == set()
    assert len(installed) < 40


def test_the_library_measures_without_them(library: Environment, project: Path) -> None:
    """Arrays and dicts are counted in a process that has numpy and OpenTelemetry alone."""
    scrape = library.run([library.python, "-W", "error", "-c", MEASURE], project, PYTHONPATH=".")
    assert _value(scrape, "ml_predictions_total", outcome="yes") == 3
    assert _value(scrape, "ml_predictions_total", outcome="no") == 2
    assert _value(scrape, "ml_feature_categories_total", feature="plan", category="__unseen__") == 1
    assert _value(scrape, "ml_feature_out_of_range_total", feature="age", side="high") == 1
