"""The commands, run as processes: what they print, and their exit codes."""

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from inspect import signature
from pathlib import Path

import httpx2 as httpx
import pytest

from sightline_service.bundles.drift_floors import WINDOW_H
from sightline_service.cli import bundle
from tests.service.running import NO_TLS
from tests.stack.polling import poll_until

# What has coverage measure a process, which otherwise gets no variable of the machine's.
COVERAGE = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
SIGHTLINE = Path(sys.executable).with_name("sightline")
ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}


def sightline(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end and returns what it printed."""
    command = [SIGHTLINE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


@contextmanager
def serving(
    folder: Path, endpoint: str, log: Path, *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Runs `sightline serve`, with an OTLP endpoint unless it is empty; yields the process and a client of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    environment = {"PATH": "/usr/bin", **COVERAGE, **variables}
    command = [str(SIGHTLINE), "serve", str(folder), "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            def is_ready() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return client.get("/readyz").is_success
                except httpx.HTTPError:
                    return False

            poll_until(is_ready, 60)
            yield process, client
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("is_hanging", [False, True], ids=["dead", "hanging"])
def test_a_collector_that_does_not_answer_harms_no_request(
    small_bundle: Path, tmp_path: Path, is_hanging: bool
) -> None:
    """With a dead or a hanging collector all requests succeed without delay, and shutdown takes at most 5 seconds."""
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        if is_hanging:
            collector.listen(64)
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        with serving(small_bundle, endpoint, tmp_path / "log") as (process, client):
            times = []
            until = time.monotonic() + 4
            while time.monotonic() < until:
                start = time.monotonic()
                assert client.post("/predict/model", json={"instances": [ROW]}).status_code == 200
                times.append(time.monotonic() - start)
            assert max(times) < 0.5
            assert sorted(times)[len(times) // 2] < 0.05
            process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            process.wait(timeout=20)
            assert time.monotonic() - start <= 5
    lines = [
        json.loads(line) for line in (tmp_path / "log").read_text().splitlines()
    ]  # every line of its output is JSON
    assert [line["message"] for line in lines].count("POST /predict/model 200") == len(times)


def test_version_prints_the_versions_in_use() -> None:
    """`--version` prints one line per package, ours first, and Python's last."""
    ended = sightline("--version")
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines[0] == f"sightline-service {version('sightline-service')}"
    assert lines[1] == f"sightline-telemetry {version('sightline-telemetry')}"
    assert f"scikit-learn {version('scikit-learn')}" in lines
    assert lines[-1] == f"Python {platform.python_version()}"


def test_options_are_read_without_what_the_commands_run() -> None:
    """The module of the command line loads no model library and no server, so that `--version` is quick."""
    heavy = {"numpy", "pandas", "sklearn", "fastapi", "uvicorn", "sqlalchemy", "httpx2", "opentelemetry"}
    loaded = "import sys, sightline_service.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, timeout=60)
    assert heavy & set(ended.stdout.split()) == set()


def test_the_window_of_bundle_is_that_of_the_drift_floors() -> None:
    """The default of `bundle --window`, which is written without loading the bundles, is theirs."""
    assert signature(bundle).parameters["window"].default == WINDOW_H


def test_a_missing_bundle_stops_serve(tmp_path: Path) -> None:
    """`serve` without a bundle ends with exit code 2 and one sentence with what to do."""
    ended = sightline("serve", tmp_path)
    assert ended.returncode == 2
    assert "there is no bundle in" in ended.stderr
    assert "sightline train --out" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_bundle_reports_bad_input_in_one_sentence(tmp_path: Path) -> None:
    """`bundle` on bad input ends with exit code 2 and one line, and writes nothing."""
    (tmp_path / "model.pkl").write_bytes(b"")
    files = ("--model", tmp_path / "model.pkl", "--data", tmp_path / "data.csv", "--out", tmp_path / "out")
    ended = sightline("bundle", *files, "--target", "y", "--name", "m", "--version", "1")
    assert ended.returncode == 2
    assert ended.stderr.startswith("sightline: ")
    assert "is a pickle" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.pkl"]


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_an_altered_bundle_stops_serve(small_bundle: Path, tmp_path: Path, n_workers: str) -> None:
    """`serve` refuses an altered bundle before it listens, whatever the number of workers."""
    folder = shutil.copytree(small_bundle, tmp_path / "bundle")
    (folder / "profile.json").write_text("{}")
    environment = {"PATH": "/usr/bin", **COVERAGE, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    ended = sightline("serve", folder, "--workers", n_workers, environment=environment)
    assert ended.returncode == 2
    assert "profile.json was altered" in ended.stderr


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (("--workers", "2", "--observer", "off"), {}),
        (("--metrics-port", "0", "--observer", "off"), {}),
        (("--workers", "2"), {"OTEL_SDK_DISABLED": "true"}),
    ],
    ids=["workers", "metrics port", "telemetry off"],
)
def test_several_workers_need_the_observer(
    options: tuple[str, ...], variables: dict[str, str], small_bundle: Path
) -> None:
    """More than one worker without the observer process is refused: a scrape would get the counts of one only."""
    ended = sightline("serve", small_bundle, *options, environment={"PATH": "/usr/bin", **variables})
    assert ended.returncode == 2
    assert "--workers and --metrics-port need the observer process" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_scrape_shows_the_counts_of_all_workers(small_bundle: Path, tmp_path: Path) -> None:
    """Without OTLP, whichever of two workers answers a scrape, it has every row that was answered by either."""
    with serving(small_bundle, "", tmp_path / "log", "--workers", "2") as (process, client):
        url = f"{client.base_url}/predict/model"
        for sent in range(1, 21):  # a connection each, so that both workers get some
            assert httpx.post(url, json={"instances": [ROW] * 3}, verify=NO_TLS).status_code == 200
            text = httpx.get(f"{client.base_url}/metrics", verify=NO_TLS).raise_for_status().text
            lines = [line for line in text.splitlines() if line.startswith("ml_predictions_total{")]
            assert sum(float(line.rpartition(" ")[2]) for line in lines) == 3 * sent
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_a_bad_setting_stops_serve(small_bundle: Path) -> None:
    """An invalid setting ends `serve` with its name and value."""
    ended = sightline("serve", small_bundle, environment={"PATH": "/usr/bin", "SIGHTLINE_SLOW_S": "soon"})
    assert ended.returncode == 2
    assert "SIGHTLINE_SLOW_S='soon'" in ended.stderr


@pytest.mark.slow
def test_the_demo_ends_with_counts_that_agree(flights_bundle: Path, tmp_path: Path) -> None:
    """`demo --duration` ends by itself: all that was sent is counted, and an exemplar leads to a trace."""
    folder = shutil.copytree(flights_bundle, tmp_path / "flights")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    ended = sightline("demo", "--duration", "6", "--port", port, "--bundle", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("agree") >= 4
    assert "training" not in ended.stdout
    exemplar_s = float(re.search(r"stands at ([0-9.]+) s", ended.stdout)[1])  # type: ignore[index]
    longest_ms = max(map(float, re.findall(r"\+ +([0-9.]+) ms", ended.stdout.partition("leads to")[2])))
    assert longest_ms == pytest.approx(exemplar_s * 1000, abs=0.51)
    assert re.search(r"GET /predict/random +█+", ended.stdout)
    assert json.loads((folder / "manifest.json").read_text())["name"] == "flights"


@pytest.mark.slow
def test_ctrl_c_ends_the_demo_with_its_summary(flights_bundle: Path, tmp_path: Path) -> None:
    """An interrupt ends the requests first, so the service still answers for the summary, and the demo succeeds."""
    folder = shutil.copytree(flights_bundle, tmp_path / "flights")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [str(SIGHTLINE), "demo", "--port", port, "--bundle", str(folder)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        poll_until(lambda: "Ctrl-C ends the demo with a summary" in log.read_text(), 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "received by clients, counted by the service" in log.read_text()
    assert "Traceback" not in log.read_text()
