"""The doctor on a healthy stack, and on one where each station is broken on purpose."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sightline_service.diagnostics.doctor import report
from sightline_service.diagnostics.stations import STATIONS, examine_deployment
from tests.stack.processes import Process, Stack, free_port, service_process

pytestmark = pytest.mark.stack

NAMES = [station.name for station in STATIONS]
PATIENCE_S = 12
"""Everything arrives within two seconds on an idle machine; a broken station uses this up."""
AN_HOUR_AHEAD = """
import time

_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + 3600
time.time_ns = lambda: _time_ns() + 3600 * 1_000_000_000
"""
"""A `sitecustomize` module, which Python imports at start-up if it is on PYTHONPATH.

The operating system's clock cannot be set for one process, but what Python reads of it can be replaced. This is a
string because a file would be imported by test collection, which would then run an hour ahead.
"""
NOTHING_KEPT = {"SIGHTLINE_TRACES_ASKED_PER_S": "0", "SIGHTLINE_TRACES_EXEMPLAR_PER_S": "0"}


@dataclass(frozen=True)
class Patient:
    """A service that exports to the stack, and where the doctor looks for what it exported."""

    stack: Stack
    url: str

    def examine(self, service: str | None = None) -> tuple[bool, str]:
        """Returns whether all is well, and what the doctor prints."""
        addresses = service or self.url, self.stack.prometheus_url, self.stack.traces_url
        printed = StringIO()
        is_well = report(examine_deployment(*addresses, PATIENCE_S), Console(file=printed, width=200))
        return is_well, printed.getvalue()

    def run_command(self) -> tuple[int, str]:
        """Returns the exit code and the output of `sightline doctor`."""
        addresses = {"service": self.url, "prometheus": self.stack.prometheus_url, "traces": self.stack.traces_url}
        options = [part for name, value in addresses.items() for part in (f"--{name}", value)]
        command: list[str | Path] = [
            Path(sys.executable).with_name("sightline"),
            "doctor",
            *options,
            "--patience",
            str(PATIENCE_S),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr


@contextmanager
def _serving(stack: Stack, bundle: Path, name: str, **environment: str) -> Iterator[Patient]:
    port = free_port()
    with service_process(stack, bundle, port, name, environment):
        yield Patient(stack, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def patient(stack: Stack, small_bundle: Path) -> Iterator[Patient]:
    """One service for all tests of this module; each leaves the stack as it found it."""
    with _serving(stack, small_bundle, "patient") as served:
        yield served


@contextmanager
def _down(process: Process) -> Iterator[None]:
    process.kill()
    try:
        yield
    finally:
        process.start()


@contextmanager
def _prometheus_without(stack: Stack, flag: str) -> Iterator[None]:
    """Prometheus on the same data, less one flag."""
    stack.prometheus.kill()
    try:
        with stack.build_prometheus(flag):
            yield
    finally:
        stack.prometheus.start()


def _assert_breaks_at(station: str, examined: tuple[bool, str], *texts: str) -> None:
    """All stations before this one are well, it is broken and the last one visited, and its line has the texts."""
    is_well, output = examined
    assert not is_well, output
    lines = [line for line in output.splitlines() if line.startswith(("✓", "✗"))]
    reached = NAMES[: NAMES.index(station) + 1]
    assert [line.split()[:2] for line in lines] == [["✓", name] for name in reached[:-1]] + [["✗", station]], output
    assert "likely cause: " in output
    for text in texts:
        assert text in output


def test_healthy_stack_has_six_stations(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """On a stack where all works the command finds all six stations well and its exit code is 0."""
    code, output = patient.run_command()
    assert code == 0, output
    assert NAMES == ["service", "clocks", "collector", "metrics", "traces", "exemplar"]
    lines = [line for line in output.splitlines() if line]
    assert [line.split()[:2] for line in lines] == [["✓", name] for name in NAMES], output
    assert "small 7 answered" in lines[0]
    spans = lines[4].partition("5 spans: ")[2].split(", ")
    assert spans[0] == "POST /predict/model"
    assert set(spans[1:]) == {"queue", "predict", "preprocess", "classify"}
    with capsys.disabled():
        print(f"\n{output}")


def test_first_broken_station_ends_the_command_with_1(patient: Patient) -> None:
    """The command prints the same lines and its exit code is 1."""
    with _down(patient.stack.trace_store):
        code, output = patient.run_command()
    assert code == 1
    _assert_breaks_at("traces", (False, output), f"nothing listens at {patient.stack.traces_url}")


def test_service_that_is_down(patient: Patient) -> None:
    """An address at which nothing listens is named."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    _assert_breaks_at("service", patient.examine(service=nowhere), f"nothing listens at {nowhere}")


def test_address_of_something_else(patient: Patient) -> None:
    """Prometheus at the address of the service is an odd answer, not a broken service."""
    _assert_breaks_at("service", patient.examine(service=patient.stack.prometheus_url), "something else than the")


def test_no_collector(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """A collector that is down is named by the address to which the service exports."""
    with _down(patient.stack.collector):
        examined = patient.examine()
    address = patient.stack.otlp_endpoint.removeprefix("http://")
    _assert_breaks_at("collector", examined, f"no collector listens at {address}")
    with capsys.disabled():
        print(f"\n{examined[1]}")


def test_wrong_endpoint(stack: Stack, small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If what the service exports to takes no OTLP, the cause names the status and the setting."""
    with _serving(stack, small_bundle, "astray", OTEL_EXPORTER_OTLP_ENDPOINT=stack.prometheus_url) as astray:
        examined = astray.examine()
    _assert_breaks_at("collector", examined, "HTTP 404", "does not take OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT")
    with capsys.disabled():
        print(f"\n{examined[1]}")


def test_no_endpoint(stack: Stack, small_bundle: Path) -> None:
    """If the service exports nothing, the cause names the variable that is missing."""
    with _serving(stack, small_bundle, "silent", OTEL_EXPORTER_OTLP_ENDPOINT="") as silent:
        _assert_breaks_at("collector", silent.examine(), "OTEL_EXPORTER_OTLP_ENDPOINT is not set")


def test_collector_that_sends_elsewhere(patient: Patient) -> None:
    """If the collector takes counts that do not arrive in Prometheus, the cause points to its overlay and its log."""
    with patient.stack.collector_with(PROMETHEUS_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}/api/v1/otlp"):
        _assert_breaks_at("metrics", patient.examine(), "look for `Exporting failed` in its log")


def test_prometheus_that_is_down(patient: Patient) -> None:
    """A Prometheus that does not answer is named."""
    with _down(patient.stack.prometheus):
        _assert_breaks_at("metrics", patient.examine(), f"nothing listens at {patient.stack.prometheus_url}")


def test_prometheus_without_otlp(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """If Prometheus has no OTLP receiver, the cause names the flag it lacks."""
    with _prometheus_without(patient.stack, "--web.enable-otlp-receiver"):
        examined = patient.examine()
    _assert_breaks_at("metrics", examined, "start it with --web.enable-otlp-receiver")
    with capsys.disabled():
        print(f"\n{examined[1]}")


def test_trace_store_that_is_down(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace store that does not answer is named."""
    with _down(patient.stack.trace_store):
        examined = patient.examine()
    _assert_breaks_at("traces", examined, f"nothing listens at {patient.stack.traces_url}")
    with capsys.disabled():
        print(f"\n{examined[1]}")


def test_traces_that_are_not_kept(stack: Stack, small_bundle: Path) -> None:
    """If no allowance is left for requested traces, the cause names its setting too."""
    with _serving(stack, small_bundle, "stingy", **NOTHING_KEPT) as stingy:
        _assert_breaks_at("traces", stingy.examine(), "SIGHTLINE_TRACES_ASKED_PER_S")


def test_exemplar_storage_off(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """If Prometheus stores no exemplars, the cause names the flag it lacks."""
    with _prometheus_without(patient.stack, "--enable-feature=exemplar-storage"):
        examined = patient.examine()
    _assert_breaks_at("exemplar", examined, "start it with --enable-feature=exemplar-storage")
    with capsys.disabled():
        print(f"\n{examined[1]}")


def test_clock_an_hour_off(
    stack: Stack, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service whose clock is an hour ahead is named, with how much."""
    (tmp_path / "sitecustomize.py").write_text(AN_HOUR_AHEAD)
    with _serving(stack, small_bundle, "skewed", PYTHONPATH=str(tmp_path)) as skewed:
        examined = skewed.examine()
    _assert_breaks_at("clocks", examined, "the clock of the service is", "ahead; run NTP")
    (seconds,) = re.findall(r"the clock of the service is ([\d,]+) s ahead", examined[1])
    assert abs(int(seconds.replace(",", "")) - 3600) <= 2  # the Date header has whole seconds
    with capsys.disabled():
        print(f"\n{examined[1]}")
