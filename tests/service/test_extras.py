"""A plain installation, without the packages of any extra, runs what needs none, and names the extra that is needed.

Each test starts a process whose import system refuses these packages.
"""

import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from skops.io import dump

from sightline_service.errors import EXTRAS, MissingExtraError, naming_extras

REFUSED = f"""
import sys


class Refusing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in {sorted(EXTRAS)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Refusing)
"""
"""A `sitecustomize` module, which Python imports at start-up."""


def plain(folder: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `sightline` without the packages of the extras."""
    (folder / "sitecustomize.py").write_text(REFUSED)
    return subprocess.run(
        [Path(sys.executable).with_name("sightline"), *arguments],
        env={"PATH": "/usr/bin", "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_extra(option: str, tmp_path: Path) -> None:
    """The options that print and exit work without any extra."""
    ended = plain(tmp_path, option)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "sightline" in ended.stdout


@pytest.mark.parametrize("command", ["demo", "train", "simulate", "doctor"])
def test_a_command_names_the_extra_that_it_needs(command: str, tmp_path: Path) -> None:
    """A command of the demo ends with exit code 2 and one sentence that names the extra."""
    ended = plain(tmp_path, command)
    assert ended.returncode == 2
    assert ended.stderr.startswith("sightline: this needs ")
    assert ended.stderr.endswith("which is not installed: pip install 'sightline-service[demo]'\n")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("extra", "environment"),
    [
        ("postgresql", {"SIGHTLINE_LEDGER": "postgresql://127.0.0.1:9/none"}),
        ("contrib", {"SIGHTLINE_HTTP_TRACING": "contrib"}),
        ("grpc", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
    ],
)
def test_a_setting_names_the_extra_that_it_needs(
    extra: str, environment: dict[str, str], small_bundle: Path, tmp_path: Path
) -> None:
    """A setting that needs an extra stops `serve` with exit code 2 and one sentence that names the extra."""
    ended = plain(tmp_path, "serve", small_bundle, "--port", "0", **environment)
    assert ended.returncode == 2, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("{")]  # the log is JSON
    assert line.startswith("sightline: this needs ")
    assert line.endswith(f"pip install 'sightline-service[{extra}]'")


@pytest.mark.slow
def test_bundle_and_serve_need_no_extra(
    small_model: Pipeline, small_data: tuple[pd.DataFrame, "pd.Series[str]"], tmp_path: Path
) -> None:
    """Without any extra a bundle is made of a CSV, and `serve` loads it and gets as far as its port."""
    data, labels = small_data
    data.assign(target=labels).to_csv(tmp_path / "data.csv", index=False)
    dump(small_model, tmp_path / "model.skops")
    files = ("--model", tmp_path / "model.skops", "--data", tmp_path / "data.csv", "--out", tmp_path / "bundle")
    ended = plain(tmp_path, "bundle", *files, "--target", "target", "--name", "m", "--version", "1")
    assert ended.returncode == 0, ended.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = plain(tmp_path, "serve", tmp_path / "bundle", "--observer", "off", "--port", port)
        supervised = plain(tmp_path, "serve", tmp_path / "bundle", "--port", port)
    assert "address already in use" in ended.stdout  # the log
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in supervised.stderr
    assert "Traceback" not in ended.stdout + ended.stderr + supervised.stdout + supervised.stderr


def test_other_modules_are_not_extras() -> None:
    """The absence of a module that no extra brings is raised as it is."""
    with pytest.raises(ModuleNotFoundError, match="no such module"), naming_extras():
        raise ModuleNotFoundError("no such module", name="grpcio_of_another")
    with pytest.raises(MissingExtraError, match=r"sightline-service\[grpc\]"), naming_extras():
        raise ModuleNotFoundError(name="grpc.aio")
