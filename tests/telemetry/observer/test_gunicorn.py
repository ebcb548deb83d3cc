"""A Flask app under a real gunicorn with four workers: one scrape has the exact counts of all, whatever is killed."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.profile_file import save_profile
from tests.stack.polling import poll_until
from tests.stack.processes import Process, free_port
from tests.telemetry.sink import Sink

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_otel_variables")]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "without-the-service.md").read_text(encoding="utf-8")
PATIENCE_S = 60
N_WORKERS = 4
N_CLIENTS = 6
THREADS = ("--preload", "--worker-class", "gthread", "--threads", "3")

# What the page leaves to the reader: an app, and a model of which each second prediction is "yes". A dict of columns
# takes the place of a DataFrame, because to import pandas in all workers takes longer than all else here.
_BEFORE = """
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from flask import Flask, request

app = Flask(__name__)
pd = SimpleNamespace(DataFrame=lambda rows: {name: np.array([row[name] for row in rows]) for name in rows[0]})
model = SimpleNamespace(
    predict=lambda rows: np.array(["no", "yes"])[rows["age"] % 2],
    predict_proba=lambda rows: np.column_stack([1 - rows["age"] % 2, rows["age"] % 2]).astype(float),
)
"""


def lines_of(heading: str, n: int = 1) -> str:
    """The first n blocks of Python under a heading of the page, one after the other."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "\n\n".join(block.partition("```")[0] for block in section.split("```python\n")[1 : n + 1])


class Server:
    """A running gunicorn. sent: the rows in answers of status 200 so far, by outcome."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.sent = {"no": 0, "yes": 0}
        # A worker that ends closes the connections that are kept alive, which a client may find out too late. One
        # client for all, because each makes a context for TLS, which takes long.
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"connection": "close"}, timeout=PATIENCE_S
        )

    def children(self) -> list[psutil.Process]:
        """The processes of the master: workers, and the observer."""
        found = psutil.Process(self.process.pid).children()
        return [each for each in found if _is_alive(each)]

    @property
    def observer(self) -> psutil.Process:
        """The process that counts."""
        (found,) = poll_until(lambda: [each for each in self.children() if _is_observer(each)], PATIENCE_S)
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes that serve."""
        return [each for each in self.children() if not _is_observer(each)]

    def await_workers(self, *gone: psutil.Process) -> list[psutil.Process]:
        """Waits until four workers run that are not among those that are to be gone."""

        def all_run() -> list[psutil.Process]:
            workers = self.workers()
            return workers if len(workers) == N_WORKERS and not set(gone) & set(workers) else []

        return poll_until(all_run, PATIENCE_S)

    def send(self, n_requests: int = 120) -> None:
        """Sends requests of one to five rows over several connections at once; all have to be answered."""

        def each(client: int) -> None:
            for request in range(n_requests // N_CLIENTS):
                n_rows = (client + request) % 5 + 1
                rows = [{"age": age, "gain": 0.5, "city": "Bern"} for age in range(n_rows)]
                answer = self.client.post("/churn", json=rows).raise_for_status().json()
                assert answer["churn"] == ["no", "yes", "no", "yes", "no"][:n_rows]

        with ThreadPoolExecutor(N_CLIENTS) as threads:
            list(threads.map(each, range(N_CLIENTS)))
        for client in range(N_CLIENTS):
            for request in range(n_requests // N_CLIENTS):
                n_rows = (client + request) % 5 + 1
                self.sent["no"] += (n_rows + 1) // 2
                self.sent["yes"] += n_rows // 2

    def scrape(self) -> str:
        """The text of the next scrape that is answered; one that is not has to be a 503 with a time to try again."""

        def attempt() -> str:
            answer = self.client.get("/metrics")
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"
                return ""
            return answer.raise_for_status().text

        return poll_until(attempt, PATIENCE_S)

    def counted(self) -> dict[str, int]:
        """The rows that one scrape has, by outcome."""
        return outcomes_in(self.scrape())


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return False


def _is_observer(process: psutil.Process) -> bool:
    try:
        return "sightline_telemetry.observer.process" in process.cmdline()
    except psutil.Error:
        return False


def outcomes_in(scraped: str) -> dict[str, int]:
    """The rows of a scrape by outcome."""
    found = re.findall(r'^ml_predictions_total\{.*outcome="(\w+)".*\} (\S+)$', scraped, re.MULTILINE)
    return {outcome: int(float(value)) for outcome, value in found}


def deaths_in(scraped: str) -> dict[str, int]:
    """The deaths of workers in a scrape by signal, those that have happened."""
    found = re.findall(r'^sightline_worker_deaths_total\{.*signal="(\w+)".*\} (\S+)$', scraped, re.MULTILINE)
    return {name: int(float(value)) for name, value in found if float(value)}


@contextmanager
def serving(folder: Path, profile: ReferenceProfile, *options: str, **environment: str) -> Iterator[Server]:
    """Runs the app of the page with its configuration. options: of gunicorn."""
    save_profile(profile, folder / "profile.json")
    (folder / "app.py").write_text(_BEFORE + lines_of("A Flask app", 2), encoding="utf-8")
    (folder / "gunicorn.conf.py").write_text(lines_of("Gunicorn with four workers"), encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *options, "app:app"]
    variables = {
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": "",
        "TMPDIR": str(folder),
        "HOME": str(folder),
        **environment,
    }
    process = Process("gunicorn", command, f"http://127.0.0.1:{port}/metrics", folder / "log", variables)
    with chdir(folder):
        process.start()
    with ExitStack() as stack:
        stack.callback(process.kill)
        server = Server(process, port)
        stack.enter_context(server.client)
        server.await_workers()
        yield server


# Threads of gunicorn 23 drop connections that wait when their worker ends, so nothing is sent to them meanwhile.
@pytest.mark.parametrize(("options", "n_meanwhile"), [((), 120), (THREADS, 0)])
def test_one_scrape_is_exact_whatever_is_killed(
    options: tuple[str, ...], n_meanwhile: int, profile: ReferenceProfile, tmp_path: Path
) -> None:
    """Counts equal what was answered after kills of a worker and the observer and a reload; no process is left."""
    with serving(tmp_path, profile, *options) as server:
        server.send()
        assert server.counted() == server.sent

        victim, *_ = server.workers()
        victim.kill()
        server.await_workers(victim)
        server.send()
        assert server.counted() == server.sent

        server.observer.kill()
        server.send()
        assert server.counted() == server.sent

        workers = server.workers()
        os.kill(server.process.pid, signal.SIGHUP)
        server.send(n_meanwhile)
        started = server.await_workers(*workers)
        server.send()
        scraped = server.scrape()
        assert outcomes_in(scraped) == server.sent
        assert deaths_in(scraped) == {"SIGKILL": 1}

        family = [*started, server.observer]
        assert server.process.stop(PATIENCE_S) == 0
        assert psutil.wait_procs(family, timeout=0)[1] == []
        assert not list(tmp_path.glob("sightline-*/*"))


def test_an_observer_that_stands_still_delays_no_prediction(profile: ReferenceProfile, tmp_path: Path) -> None:
    """While the observer is stopped, predictions are answered and a scrape is a 503; afterwards all are counted."""
    with serving(tmp_path, profile, *THREADS) as server:
        observer = server.observer
        observer.suspend()
        try:
            server.send()
            refused = server.client.get("/metrics")
        finally:
            observer.resume()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert server.counted() == server.sent


def test_the_observer_exports_for_all(profile: ReferenceProfile, sink: Sink, tmp_path: Path) -> None:
    """All rows are at the endpoint when the server has ended, under one `service.instance.id`."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
    with serving(tmp_path, profile, *THREADS, **variables) as server:
        server.send()
        assert server.process.stop(PATIENCE_S) == 0
    (metrics,) = sink.last().values()
    points = metrics["ml.predictions"].sum.data_points
    assert {point.attributes[-1].value.string_value: point.as_int for point in points} == server.sent


def test_all_end_with_their_master(profile: ReferenceProfile, tmp_path: Path) -> None:
    """A master that is killed leaves neither a process nor a socket behind."""
    with serving(tmp_path, profile, *THREADS) as server:
        family = [*server.workers(), server.observer]
        server.process.kill()
        assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []
    assert not list(tmp_path.glob("sightline-*/*"))
