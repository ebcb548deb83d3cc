"""Real services of three workers and an observer: what each kill costs, and what it does not."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Any

import httpx2 as httpx
import psutil
import pytest

from sightline_telemetry.observer.supervisor import Plan
from tests.service.deadly import DEADLY, TRUSTED, save_deadly_bundle
from tests.service.running import NO_TLS
from tests.stack.polling import poll_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIGHTLINE = Path(sys.executable).with_name("sightline")
COVERAGE = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
N_WORKERS = 3
ENVIRONMENT = {
    "PATH": "/usr/bin",
    **COVERAGE,
    "PYTHONPATH": str(ROOT),
    "SIGHTLINE_TRUSTED_TYPES": TRUSTED,
    "SIGHTLINE_TRACE_RING": "true",
    "SIGHTLINE_RANDOM_ENDPOINT": "true",
}


@dataclass(frozen=True)
class Service:
    """A running `sightline serve`: its supervisor, its port, and the file of its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def _children(self, module: str) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if child.is_running() and module in child.cmdline()]

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that serve."""
        return self._children("sightline_service.worker")

    @property
    def observer(self) -> psutil.Process:
        """The process that counts."""
        (observer,) = self._children("sightline_telemetry.observer.process")
        return observer

    def get(self, path: str) -> httpx.Response:
        """Requests a path over a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", verify=NO_TLS, timeout=15)

    def predict(self, *values: float) -> httpx.Response:
        """Predicts rows over a connection of its own: any worker may take it."""
        with self.client() as client:
            return client.post("/predict/model", json=rows_of(*values))

    def client(self) -> httpx.Client:
        """Returns a client; its first connection is that of one worker."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", verify=NO_TLS, timeout=15)

    def scrape(self) -> str:
        """Returns the text of `/metrics`, as soon as there is an observer that answers."""

        def attempt() -> str:
            try:
                answer = self.get("/metrics")
            except httpx.TransportError:  # the worker that took the connection was just killed
                return ""
            return answer.text if answer.status_code == 200 else ""

        return poll_until(attempt, 60)

    def n_rows(self) -> int:
        """Returns the rows that are counted."""
        return int(total(self.scrape(), "ml_predictions_total", 'model_name="deadly"'))

    def await_workers(self) -> None:
        """Waits until all workers serve."""

        def all_serve() -> bool:
            found = re.findall(r'process_memory_usage_bytes\{worker="(\d)"\}', self.scrape())
            return sorted(found) == [str(index) for index in range(N_WORKERS)] and len(self.workers) == N_WORKERS

        poll_until(all_serve, 60)

    def await_line(self, *parts: str) -> dict[str, Any]:
        """Waits for a line of the log that contains all parts."""

        def find() -> dict[str, Any] | None:
            found = [line for line in self.log.read_text().splitlines() if all(part in line for part in parts)]
            line: dict[str, Any] | None = json.loads(found[-1]) if found else None
            return line

        line = poll_until(find, 20)
        assert line is not None
        return line


def rows_of(*values: float) -> dict[str, Any]:
    """Returns the body of a request for these rows."""
    return {"instances": [{"x": value} for value in values]}


def total(scraped: str, name: str, *parts: str) -> float:
    """Returns the sum of the samples of a scrape with this name, whose labels contain all parts."""
    lines = [line for line in scraped.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts))


@contextmanager
def serving(
    bundle: Path, log: Path, stdout: int | IO[bytes] | None = None, observer: str | None = None
) -> Iterator[Service]:
    """Runs a service of three workers.

    stdout: of the service; otherwise it goes into the log. observer: a program in the place of the observer.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    command = [str(SIGHTLINE), "serve", str(bundle), "--port", str(port), "--workers", str(N_WORKERS)]
    if observer is not None:
        worker = [sys.executable, "-m", "sightline_service.worker"]
        plan = Plan([observer], worker, N_WORKERS, "127.0.0.1", port)
        command = [sys.executable, "-m", "sightline_telemetry.observer.supervisor", plan.to_json()]
    environment = ENVIRONMENT | {"SIGHTLINE_BUNDLE": str(bundle)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=stdout or output, stderr=output, env=environment)
    service = Service(process, port, log)

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return service.get("/readyz").is_success
        except httpx.TransportError:
            return False

    try:
        poll_until(is_ready, 60)
        service.await_workers()
        yield service
    finally:
        process.terminate()
        try:
            assert process.wait(timeout=20) in (0, -signal.SIGKILL)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def deadly_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that ends its process at one value."""
    return save_deadly_bundle(tmp_path_factory.mktemp("deadly") / "bundle")


@pytest.fixture(scope="module")
def _service(deadly_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(deadly_bundle, tmp_path_factory.mktemp("workers") / "log") as service:
        yield service


@pytest.fixture
def service(_service: Service) -> Service:
    """A service of which every part runs, whatever the test before did to it."""
    _service.await_workers()
    return _service


def send(service: Service, n_requests: int) -> int:
    """Sends requests over eight connections at once; returns the rows in their answers, all of which have to be 200."""

    def each(client: httpx.Client) -> int:
        answers = [client.post("/predict/model", json=rows_of(1.0, -1.0, 2.0)) for _ in range(n_requests // 8)]
        assert {answer.status_code for answer in answers} == {200}
        return sum(len(answer.json()["predictions"]) for answer in answers)

    with ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        clients = [stack.enter_context(service.client()) for _ in range(8)]
        return sum(threads.map(each, clients))


def test_a_scrape_is_one_sum_of_all_workers(service: Service) -> None:
    """Whichever worker answers a scrape, it counts the rows in all answers, under one `service.instance.id`."""
    before = service.n_rows()
    received = send(service, 160)
    scrapes = [service.scrape() for _ in range(6)]
    rows = {total(text, "ml_predictions_total", 'model_name="deadly"') for text in scrapes}
    instances = {each for text in scrapes for each in re.findall(r'service_instance_id="([^"]+)"', text)}
    assert received == 480
    assert rows == {before + received}
    assert len(instances) == 1


def test_a_killed_worker_costs_no_count_and_is_replaced(service: Service) -> None:
    """A worker killed with nothing in flight is counted, its rows stay counted, and its successor serves."""
    before = service.scrape()
    received = send(service, 80)
    victim = service.workers[0]
    victim.send_signal(signal.SIGKILL)
    victim.wait(5)
    service.await_workers()
    received += send(service, 80)
    after = service.scrape()
    deaths = "sightline_worker_deaths_total"
    assert victim.pid not in [worker.pid for worker in service.workers]
    assert total(after, "ml_predictions_total", "deadly") - total(before, "ml_predictions_total", "deadly") == received
    assert total(after, deaths, "SIGKILL") - total(before, deaths, "SIGKILL") == 1
    assert total(after, deaths) - total(before, deaths) == 1
    assert service.await_line(f"process {victim.pid}) died of SIGKILL")["in_flight"] == 0


@pytest.mark.parametrize(
    ("path", "route"),
    [("/predict/model", "/predict/model"), ("/v1/models/deadly:predict", "/v1/models/{name}:predict")],
)
def test_the_request_that_kills_its_worker_leaves_a_trace(service: Service, path: str, route: str) -> None:
    """A request that ends its process has a failed trace, a line in the log and a count; all others succeed."""
    before = service.scrape()
    trace_id = os.urandom(16).hex()
    parent = {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"}
    with service.client() as client, pytest.raises(httpx.TransportError):
        client.post(path, json=rows_of(DEADLY), headers=parent)
    line = service.await_line(trace_id, "was predicting it")
    service.await_workers()
    received = send(service, 80)
    after = service.scrape()
    trace = service.get(f"/traces/{trace_id}").raise_for_status().json()
    (span,) = [span for part in trace["resourceSpans"] for scope in part["scopeSpans"] for span in scope["spans"]]
    attributes = {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}
    assert (line["error.type"], line["level"]) == ("SIGSEGV", "error")
    assert (span["name"], attributes["error.type"]) == (f"POST {route}", "SIGSEGV")
    assert attributes["sightline.worker.was_predicting"] is True
    assert total(after, "sightline_worker_deaths_total", "SIGSEGV") == 1 + total(
        before, "sightline_worker_deaths_total", "SIGSEGV"
    )
    assert total(after, "ml_predictions_total", "deadly") - total(before, "ml_predictions_total", "deadly") == received
    assert total(after, "http_server_active_requests", "POST") == 0


def test_a_killed_observer_is_continued(service: Service) -> None:
    """A new observer continues every series, and counts what was predicted while there was none."""
    before = service.n_rows()
    received = send(service, 80)
    service.observer.send_signal(signal.SIGKILL)
    received += send(service, 80)
    assert service.n_rows() == before + received


def test_without_an_observer_workers_are_scraped(deadly_bundle: Path, tmp_path: Path) -> None:
    """Where the observer dies at once, again and again, each worker's scrape has all rows that were answered."""
    with serving(deadly_bundle, tmp_path / "log", observer="/bin/false") as service:
        instances = set()
        for n_sent in range(8, 41, 8):
            assert send(service, 8) == 24
            text = service.get("/metrics").raise_for_status().text
            assert total(text, "ml_predictions_total", 'model_name="deadly"') == 3 * n_sent
            instances |= set(re.findall(r'service_instance_id="([^"]+)"', text))
        assert len(instances) == 1
        assert service.get(f"/traces/{1:032x}").status_code == 503


def test_a_stopped_observer_stops_no_prediction(service: Service) -> None:
    """While the observer stands still, predictions are served and a scrape gets 503; afterwards all are counted."""
    before = service.n_rows()
    observer = service.observer
    observer.suspend()
    try:
        received = send(service, 160)
        start = monotonic()
        scraped = service.get("/metrics")
        waited_s = monotonic() - start
        received += send(service, 80)
    finally:
        observer.resume()
    assert (scraped.status_code, scraped.headers["retry-after"]) == (503, "1")
    assert scraped.json()["type"] == "urn:sightline:problem:observer-down"
    assert waited_s < 2.5
    assert service.n_rows() == before + received
    assert service.observer.pid == observer.pid


def test_inflight_shows_what_runs(service: Service) -> None:
    """`sightline inflight` lists a request that runs, and no longer when it has ended."""

    def show() -> str:
        command = [str(SIGHTLINE), "inflight", "--port", str(service.port)]
        shown = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=60)
        return shown.stdout

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(service.get, "/predict/random?time_delay_scale=10") for _ in range(8)]
        shown = show()
        statuses = {each.result().status_code for each in asked}
    assert "GET /predict/random" in shown
    assert statuses == {200}
    assert "no request is in flight" in show()


def test_tail_shows_what_ends(service: Service) -> None:
    """`sightline tail` prints requests as they end, those of one route if it is named."""
    command = [str(SIGHTLINE), "tail", "--port", str(service.port), "--route", "/predict/model"]
    with subprocess.Popen(command, env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE) as tail:
        try:
            assert tail.stdout is not None
            os.set_blocking(tail.stdout.fileno(), False)
            sent: set[str] = set()

            def read() -> str:
                service.get("/livez")
                sent.add(service.predict(1.0).json()["trace_id"])
                return (tail.stdout.read() or b"").decode() if tail.stdout else ""

            shown = poll_until(read, 60)
        finally:
            tail.terminate()
    lines = shown.splitlines()
    assert all("POST /predict/model" in line and " 200 " in line for line in lines)
    assert any(trace_id in lines[0] for trace_id in sent)


def test_all_end_with_their_supervisor(deadly_bundle: Path, tmp_path: Path) -> None:
    """Workers and observer end within seconds when the supervisor is killed."""
    with serving(deadly_bundle, tmp_path / "log") as service:
        children = [*service.workers, service.observer]
        service.process.kill()
        service.process.wait(5)
        _, alive = psutil.wait_procs(children, timeout=12)
    assert len(children) == N_WORKERS + 1
    assert alive == []


def test_a_log_that_is_not_read_makes_no_request_wait(deadly_bundle: Path, tmp_path: Path) -> None:
    """With a full pipe as stdout, requests are answered as before and counted, and the service can be stopped."""
    read, write = os.pipe()
    fcntl.fcntl(write, 1031, 4096)  # F_SETPIPE_SZ: a handful of lines
    try:
        with serving(deadly_bundle, tmp_path / "log", write) as service, service.client() as client:
            times_s = []
            for _ in range(600):
                start = monotonic()
                assert client.post("/predict/model", json=rows_of(1.0)).status_code == 200
                times_s.append(monotonic() - start)
            n_rows = service.n_rows()
            client.close()
            start = monotonic()
            service.process.terminate()
            service.process.wait(20)
            stop_s = monotonic() - start
    finally:
        os.close(write)
        os.close(read)
    assert n_rows == 600
    assert stop_s < 7  # the observer gives the log up after 2 s, and is not killed after 8
    assert sorted(times_s)[300] < 0.05
    assert max(times_s) < 1


def test_a_worker_that_stands_still_is_named(service: Service) -> None:
    """A worker that is stopped for longer than five seconds is in the log, once, and goes on afterwards."""
    victim = service.workers[0]
    victim.suspend()
    try:
        line = service.await_line("has stood still")
    finally:
        victim.resume()
    assert (line["level"], line["in_flight"]) == ("error", [])
    assert service.log.read_text().count(f"of worker {line['worker']} has stood still") == 1
    assert victim.is_running()
    received = send(service, 80)
    assert received == 240
