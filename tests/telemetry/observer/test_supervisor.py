"""The supervisor with real processes: who is started, with what, how often, and in which order all end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from sightline_telemetry.observer.supervisor import WHY_IT_ENDED, Plan
from tests.telemetry.observer import stand_in

PATIENCE_S = 20


class Service:
    """A running supervisor, with the journal of its children."""

    def __init__(self, folder: Path, plan: dict[str, Any], prefix: list[str]) -> None:
        self._journal = folder / "journal"
        self._journal.touch()
        self._stderr = folder / "stderr"
        command = [sys.executable, stand_in.__file__, str(self._journal)]
        worker, observer = plan.pop("worker", []), plan.pop("observer", [])
        defaults = {
            "observer": plan.pop("observer_command", command + observer),
            "worker": plan.pop("worker_command", command + worker),
            "n_workers": 1,
            "host": "127.0.0.1",
            "port": 0,
        }
        environment = dict(os.environ) if plan.pop("is_measured", True) else _unmeasured()
        complete = Plan(**defaults | plan)
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "sightline_telemetry.observer.supervisor", complete.to_json()],
                stderr=stderr,
                env=environment | {"TMPDIR": str(folder), "XDG_RUNTIME_DIR": ""},
            )

    @property
    def journal(self) -> list[dict[str, Any]]:
        """What the children have written so far."""
        return [json.loads(line) for line in self._journal.read_text().splitlines()]

    @property
    def messages(self) -> list[str]:
        """What the supervisor has written to stderr."""
        return self._stderr.read_text().splitlines()

    def events(self, event: str, role: str = "") -> list[dict[str, Any]]:
        """The journal's lines of one event, of one role if it is given."""
        return [line for line in self.journal if line["event"] == event and line["role"].startswith(role)]

    def wait_for(self, count: int, event: str, role: str = "") -> list[dict[str, Any]]:
        """Waits until an event has been written so often."""
        _wait_until(lambda: len(self.events(event, role)) >= count, lambda: f"{self.journal}, {self.messages}")
        return self.events(event, role)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal to the supervisor and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def pids(self) -> set[int]:
        """The ids of all children that have written into the journal."""
        return {line["pid"] for line in self.journal}

    def port(self) -> int:
        """The port on which the service listens, read from the name of the observer's socket."""
        line = self.wait_for(1, "started", "worker")[0]
        return int(Path(line["socket"]).name.removesuffix(".sock"))

    def end(self) -> None:
        """Kills what still runs; children end by their lifelines, or are killed too."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.pids():
            _kill_stubborn(pid)
        _wait_until(lambda: not any(map(_runs, self.pids())), lambda: f"{self.journal}")


def _unmeasured() -> dict[str, str]:
    """The environment without that of coverage, whose measuring takes modules and memory of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def _wait_until(condition: Callable[[], bool], describe: Callable[[], str]) -> None:
    deadline_s = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline_s, describe()
        sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that only its parent's wait keeps in the table does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill_stubborn(pid: int) -> None:
    """Kills a stubborn stand-in, if the id still belongs to one."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if "stubborn" in process.cmdline():
            process.kill()


def _ask(port: int) -> int:
    """Connects to the service; returns the id of the process that answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        return int(client.recv(100))


Start = Callable[..., Service]


pytestmark = pytest.mark.slow  # real processes, with their pauses


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts supervisors, with fields of the plan; `worker` and `observer` are behaviours of the stand-ins."""
    services: list[Service] = []

    def start_one(prefix: tuple[str, ...] = (), **plan: Any) -> Service:
        folder = tmp_path / str(len(services))
        folder.mkdir()
        services.append(Service(folder, plan, list(prefix)))
        return services[-1]

    yield start_one
    for service in services:
        service.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_stop_before_the_observer(start: Start, number: signal.Signals) -> None:
    """On SIGTERM and SIGINT the workers end first, then the observer's lifeline; the exit code is 0."""
    service = start(n_workers=2)
    service.wait_for(2, "started", "worker")
    service.wait_for(1, "started", "observer")
    workers = {line["pid"] for line in service.events("started", "worker")}
    assert _ask(service.port()) in workers
    assert service.stop(number) == 0
    ended = service.events("lifeline ended")
    assert [line["role"] for line in ended] == ["observer"]  # SIGTERM ended the workers
    assert not any(map(_runs, service.pids()))
    assert service.messages == []
    with pytest.raises(ConnectionRefusedError):
        _ask(service.port())


def test_the_others_start_when_the_first_is_ready(start: Start) -> None:
    """The first worker starts alone, beside the observer, and the others follow it."""
    service = start(n_workers=3)
    lines = service.wait_for(3, "started", "worker")
    assert lines[0]["role"] == "worker 0"
    assert {line["role"] for line in lines} == {"worker 0", "worker 1", "worker 2"}
    assert [line["generation"] for line in lines] == [1, 1, 1]
    assert lines[0]["time_s"] < min(line["time_s"] for line in lines[1:])


def test_a_child_inherits_its_own_descriptors_only(start: Start) -> None:
    """Only workers hold the listening socket, and what a worker starts itself holds nothing of it."""
    service = start(metrics_port=0)
    (worker,) = service.wait_for(1, "started", "worker")
    (observer,) = service.wait_for(1, "started", "observer")
    assert worker["descriptors"] == sorted(worker["given"])
    assert observer["descriptors"] == sorted(observer["given"])
    assert worker["of_a_child"] == []
    assert (len(worker["given"]), len(observer["given"])) == (3, 4)


def test_a_killed_worker_is_replaced(start: Start) -> None:
    """The successor finds how the dead one ended, and connections wait for it."""
    service = start()
    (first,) = service.wait_for(1, "started", "worker")
    port = service.port()
    os.kill(first["pid"], signal.SIGKILL)
    answered_by = _ask(port)
    second = service.wait_for(2, "started", "worker")[1]
    assert answered_by == second["pid"] != first["pid"]
    assert (second["role"], second["generation"]) == ("worker 0", 2)
    assert second["ended"] == [1, first["pid"], signal.SIGKILL]
    assert {number: count for number, count in enumerate(second["deaths"]) if count} == {signal.SIGKILL: 1}
    assert service.stop() == 0


def test_pauses_grow(start: Start) -> None:
    """A child that dies again and again is started after 0.1, 0.2, 0.4 s; one line says so."""
    service = start(observer=["crashes"])
    lines = service.wait_for(4, "started", "observer")
    times_s = [line["time_s"] for line in lines]
    pauses_s = [after - before for before, after in pairwise(times_s)]
    assert [pause_s >= least for pause_s, least in zip(pauses_s, (0.1, 0.2, 0.4), strict=False)] == [True] * 3
    assert [line["ended"] for line in lines[1:]] == [[n, line["pid"], 1 << 8] for n, line in enumerate(lines[:-1], 1)]
    expected = "sightline: the observer ended with exit code 1; it is started again in 0.1 s, counts go on without it"
    assert service.messages == [expected]
    service.wait_for(1, "started", "worker")
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("behaviour", "code", "messages"),
    [
        ("fails", 7, []),
        ("dies", 2, [f"sightline: the first worker was ended by SIGKILL before it was ready; {WHY_IT_ENDED}"]),
    ],
)
def test_a_failure_of_the_first_worker_ends_all(start: Start, behaviour: str, code: int, messages: list[str]) -> None:
    """A model that cannot be loaded is tried once; its worker's exit code is that of the whole, 2 after a signal."""
    service = start(worker=[behaviour], n_workers=3)
    assert service.process.wait(PATIENCE_S) == code
    assert service.messages == messages
    assert service.events("started", "worker") == []
    assert not any(map(_runs, service.pids()))


def test_a_killed_supervisor_takes_all_with_it(start: Start) -> None:
    """When the supervisor is killed, all lifelines end, and the port is free."""
    service = start(n_workers=2)
    service.wait_for(2, "started", "worker")
    service.wait_for(1, "started", "observer")
    port = service.port()
    service.process.kill()
    service.process.wait()
    service.wait_for(3, "lifeline ended")
    _wait_until(lambda: not any(map(_runs, service.pids())), lambda: f"{service.journal}")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_stubborn_children_are_killed_within_the_grace_period(start: Start) -> None:
    """Workers that stop for nothing are killed in time to let the observer export; then it is killed itself."""
    service = start(worker=["stubborn"], observer=["stubborn"], grace_s=1.0)
    service.wait_for(1, "started", "worker")
    service.wait_for(1, "started", "observer")
    before_s = monotonic()
    assert service.stop() == 0
    assert 1.0 <= monotonic() - before_s < 10
    (stopped,) = service.events("SIGTERM", "worker")
    (ended,) = service.events("lifeline ended")
    assert ended["role"] == "observer"
    assert ended["time_s"] - stopped["time_s"] >= 0.4
    assert not any(map(_runs, service.pids()))


def test_a_second_interrupt_kills_at_once(start: Start) -> None:
    """Two SIGINT end a service whose worker would take the whole grace period."""
    service = start(worker=["stubborn"], grace_s=60.0)
    service.wait_for(1, "started", "worker")
    service.process.send_signal(signal.SIGINT)
    service.wait_for(1, "SIGTERM", "worker")
    before_s = monotonic()
    assert service.stop(signal.SIGINT) == 130
    assert monotonic() - before_s < 20
    assert not any(map(_runs, service.pids()))


def test_an_observer_that_dies_while_it_drains_is_started_once_more(start: Start) -> None:
    """The counts lie in the shared memory, so a last observer exports them."""
    service = start(observer=["crashes-at-the-end"])
    service.wait_for(1, "started", "worker")
    service.wait_for(1, "started", "observer")
    assert service.stop() == 0
    assert len(service.events("lifeline ended", "observer")) == 2


def test_an_observer_that_cannot_be_started_stops_no_service(start: Start) -> None:
    """Serving goes on, the problem is written once, and a stop does not wait for it."""
    service = start(observer_command=["/no/such/program"], n_workers=2)
    service.wait_for(2, "started", "worker")
    assert _ask(service.port()) in service.pids()
    before_s = monotonic()
    assert service.stop() == 0
    assert monotonic() - before_s < 6
    (message,) = service.messages
    assert message.startswith("sightline: the observer cannot be started: ")
    assert "/no/such/program" in message


def test_a_worker_that_cannot_be_started_ends_all(start: Start) -> None:
    """The message names the program, and the exit code is 1."""
    service = start(worker_command=["/no/such/program"])
    assert service.process.wait(PATIENCE_S) == 1
    (message,) = service.messages
    assert message.startswith("sightline: the first worker cannot be started: ")
    assert "/no/such/program" in message


def test_a_service_without_an_observer(start: Start) -> None:
    """An empty command starts no observer, and workers are given no socket of one."""
    service = start(observer_command=[])
    (line,) = service.wait_for(1, "started", "worker")
    assert line["socket"] is None
    assert service.stop() == 0
    assert service.events("started", "observer") == []


def test_the_supervisor_is_small(start: Start) -> None:
    """It has imported no library, and takes 15 MB at most while it waits for signals."""
    service = start(is_measured=False)
    service.wait_for(1, "started", "worker")
    service.wait_for(1, "started", "observer")
    assert psutil.Process(service.process.pid).memory_info().rss < 15 << 20
    assert psutil.Process(service.process.pid).num_threads() == 1
    code = (
        "import sys\nfrom sightline_telemetry.observer import supervisor\n"
        "heavy = {'asyncio', 'dataclasses', 'numpy', 'opentelemetry', 'rich', 'tempfile', 'typer', 'uvicorn'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=_unmeasured())
    assert done.stdout == "[]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_adopted_children_are_waited_for(start: Start) -> None:
    """As the first process of a container, the supervisor adopts what its children leave; none stays a zombie."""
    adopting = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1) or os.execv(sys.argv[1], sys.argv[1:])"
    service = start(prefix=(sys.executable, "-c", adopting), worker=["orphans"])
    (line,) = service.wait_for(1, "started", "worker")
    _wait_until(lambda: not psutil.pid_exists(line["orphan"]), lambda: f"{psutil.Process(line['orphan'])}")
    assert service.stop() == 0


def test_a_plan_is_read_as_it_was_written() -> None:
    """The plan passes through the argument unchanged."""
    plan = Plan(["observe"], ["serve", "--x"], 3, "::1", 8000, None, 5.5)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_busy_port_is_refused(start: Start) -> None:
    """The message names the address, and the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        service = start(port=port)
        assert service.process.wait(PATIENCE_S) == 1
    assert service.messages == [f"sightline: cannot listen on 127.0.0.1:{port}: Address already in use"]
