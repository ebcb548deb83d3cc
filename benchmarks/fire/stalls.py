"""What stands still beside the workers costs no request anything: the observer, or what reads the service's stdout."""

import signal
import subprocess

from rich.console import Console

from benchmarks.bodies import requests
from benchmarks.fire.profile import FireProfile
from benchmarks.fire.report import Report
from benchmarks.fire.service import N_WORKERS, ROWS, Service, serving
from benchmarks.load import Measured, drive

CLIENTS = 64
N_READINGS = 4
"""How often memory is read while something stands still."""

COLUMNS = ("phase", "requests", "p50 ms", "p99 ms", "slowest ms", "MB (PSS)")


class Phases:
    """Full load by single rows, phase by phase. An answer that is not 200 ends it with a ConnectionError."""

    def __init__(self, service: Service, report: Report, console: Console) -> None:
        self.n_rows = 0
        self._service = service
        self._report = report
        self._console = console
        self._bodies = requests(service.server, 1)

    def run(self, title: str, seconds: float) -> list[float]:
        """Loads the service for some seconds in parts; adds a row for each, and returns its memory in MB after each."""
        sizes_mb = []
        for number in range(1, N_READINGS + 1):
            with self._console.status(f"{title}, {seconds:.0f} s"):
                measured = self._drive(seconds / N_READINGS)
            sizes_mb.append(self._service.server.pss_bytes() / 1e6)
            self._report.add(
                f"{title}, {number} of {N_READINGS}",
                measured.requests,
                f"{measured.p50_ms:.2f}",
                f"{measured.p99_ms:.2f}",
                f"{measured.slowest_ms:.1f}",
                f"{sizes_mb[-1]:.1f}",
            )
        return sizes_mb

    def _drive(self, seconds: float) -> Measured:
        measured = drive(self._service.port, self._bodies, clients=CLIENTS, seconds=seconds)
        self.n_rows += measured.requests
        return measured

    def require_counts(self) -> None:
        """Requires that all rows of all phases are counted."""
        counted = self._service.scrape().total(ROWS)
        self._report.add("rows counted at the end", counted, "", "", "", "")
        self._report.require(f"{self.n_rows:,} rows were answered", counted == self.n_rows)


def stop_observer(profile: FireProfile, console: Console, _: int) -> Report:
    """Stops the observer by SIGSTOP under full load, longer than the rings last."""
    report = Report(f"The observer stopped, {N_WORKERS} workers, {CLIENTS} clients, one row per request", COLUMNS)
    with serving() as service:
        phases = Phases(service, report, console)
        before_mb = phases.run("before", profile.stalled_s / 3)
        service.signal_observer(signal.SIGSTOP)
        try:
            while_mb = phases.run("while it is stopped", profile.stalled_s)
        finally:
            service.signal_observer(signal.SIGCONT)
        phases.run("after", profile.stalled_s / 3)
        phases.require_counts()
        _require_bounded(report, service, before_mb[-1], while_mb)
    return report


def block_stdout(profile: FireProfile, console: Console, _: int) -> Report:
    """Stops reading the service's stdout under full load; the pipe is full within a moment."""
    report = Report(f"stdout is not read, {N_WORKERS} workers, {CLIENTS} clients, one row per request", COLUMNS)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader:  # noqa: S607
        assert reader.stdin is not None
        try:
            with serving(stdout=reader.stdin) as service:
                phases = Phases(service, report, console)
                before_mb = phases.run("before", profile.stalled_s / 3)
                reader.send_signal(signal.SIGSTOP)
                while_mb = phases.run("while it is not read", profile.stalled_s)
                phases.require_counts()
                _require_bounded(report, service, before_mb[-1], while_mb)
        finally:
            reader.kill()
    return report


def _require_bounded(report: Report, service: Service, before_mb: float, while_mb: list[float]) -> None:
    """Requires that the service grew by no more than the memory that its workers and observer share."""
    shared_mb = service.board.n_workers * service.board.sizes.seat.total_bytes() / 1e6
    grown_mb = max(while_mb) - before_mb
    report.require(f"memory grows by {shared_mb:.0f} MB at most, not by {grown_mb:.1f} MB", grown_mb <= shared_mb)
