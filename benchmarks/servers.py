"""Starts the servers that are compared, each in processes of its own, and reads what they use."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import IO

import psutil

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of server is started. command: with {bundle}, {model} (joblib), {port} and {sink} in it.

    is_slow: answers a few hundred requests per second at most, so that a shorter round says as much.
    """

    name: str
    title: str
    command: tuple[str, ...]
    path: str = "/predict/model"
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    is_slow: bool = False

    @property
    def is_there(self) -> bool:
        """True if its program is installed."""
        return Path(self.command[0]).exists()


CACHE = Path(os.environ.get("BENCH_CACHE", Path.home() / ".cache" / "sightline-bench"))
_APPS = Path(__file__).parent / "apps"
_PLAIN = (sys.executable, "-m", "benchmarks.apps.plain")
_OURS = (str(Path(sys.executable).with_name("sightline")), "serve", "{bundle}", "--port", "{port}")
_BYPASS = (sys.executable, "-m", "benchmarks.apps.bypass")
_SINK = "http://127.0.0.1:{sink}"
_OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": _SINK}
_METRICS = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{_SINK}/v1/metrics"}
_CONTRIB = {"SIGHTLINE_HTTP_TRACING": "contrib"}
_NO_BYPASS = {"SIGHTLINE_ASGI_BYPASS": "false"}
_NO_LOG = {"SIGHTLINE_REQUEST_LOG": "false"}
_IDLE_S = 0.1
"""CPU time of a second in which a service only looks whether there is something to do."""
_ANYTHING = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
SINK = Kind("sink", "an OTLP endpoint", (sys.executable, "-m", "benchmarks.sink", "{port}"))
KINDS = {
    kind.name: kind
    for kind in (
        Kind("A", "empty FastAPI endpoint", (*_PLAIN, "A", "{bundle}", "{port}")),
        Kind("B", "FastAPI + scikit-learn", (*_PLAIN, "B", "{bundle}", "{port}"), is_slow=True),
        Kind("C", "B + FastAPIInstrumentor", (*_PLAIN, "C", "{bundle}", "{port}"), environment=_OTLP, is_slow=True),
        Kind("D", "B + prometheus_client", (*_PLAIN, "D", "{bundle}", "{port}"), is_slow=True),
        Kind(
            "E-litserve",
            "LitServe",
            (str(CACHE / "litserve/bin/python"), str(_APPS / "litserve_app.py"), "{model}", "{port}"),
            path="/predict",
            is_slow=True,
        ),
        Kind(
            "E-bentoml",
            "BentoML",
            (str(CACHE / "bentoml/bin/bentoml"), "serve", "bentoml_app:Flights", "--port", "{port}"),
            path="/predict",
            environment={"MODEL": "{model}", "PYTHONPATH": str(_APPS)},
            folder=_APPS,
            is_slow=True,
        ),
        Kind(
            "E-mlserver",
            "MLServer",
            (str(CACHE / "mlserver/bin/mlserver"), "start", str(_APPS / "mlserver")),
            path="/v2/models/flights/infer",
            environment={
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_GRPC_PORT": "{spare}",
                "MLSERVER_METRICS_PORT": "{spare2}",
                "MODEL": "{model}",
            },
            is_slow=True,
        ),
        Kind("F-off", "Sightline, telemetry off", _OURS, environment={**_OTLP, "OTEL_SDK_DISABLED": "true"}),
        Kind("F-counts", "Sightline, counts only: no request log, no OTLP", _OURS, environment=_NO_LOG),
        Kind("F-no-otlp", "Sightline without OTLP", _OURS),
        Kind("F-no-traces", "Sightline without traces", _OURS, environment=_METRICS),
        Kind("F-no-log", "Sightline without the request log", _OURS, environment={**_OTLP, **_NO_LOG}),
        Kind("F", "Sightline, everything on", _OURS, environment=_OTLP),
        *(
            Kind(f"F-{n}", f"Sightline, everything on, {n} workers", (*_OURS, "--workers", str(n)), environment=_OTLP)
            for n in (2, 4)
        ),
        Kind("F-no-bypass", "Sightline without the bypass of ASGI", _OURS, environment={**_OTLP, **_NO_BYPASS}),
        Kind(
            "F-no-joined-writes",
            "Sightline, bypass without joined writes",
            (*_BYPASS, "no-joined-writes", "{bundle}", "{port}"),
            environment=_OTLP,
        ),
        Kind(
            "F-no-busy-rule",
            "Sightline, bypass whose lone answers wait too",
            (*_BYPASS, "no-busy-rule", "{bundle}", "{port}"),
            environment=_OTLP,
        ),
        Kind("F-contrib", "Sightline, everything on, contrib's spans", _OURS, environment={**_OTLP, **_CONTRIB}),
    )
}


@dataclass(slots=True)
class Server:
    """A running server."""

    kind: Kind
    port: int
    process: psutil.Process
    started_s: float

    def cpu_s(self) -> float:
        """CPU time of its processes so far."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(each.user + each.system for each in times))

    def memory_bytes(self) -> int:
        """Unshared memory of its processes."""
        return int(sum(process.memory_full_info().uss for process in self.processes()))

    def pss_bytes(self) -> int:
        """Memory of its processes, in which a page that n of them share counts as a nth for each."""
        return int(sum(process.memory_full_info().pss for process in self.processes()))

    def await_idle(self, patience_s: float = 60) -> None:
        """Waits until its processes hardly work: all that are started have loaded what they serve."""
        until_s, before_s = monotonic() + patience_s, -1.0
        while (now_s := self.cpu_s()) - before_s > _IDLE_S and monotonic() < until_s:
            before_s = now_s
            sleep(1)

    def processes(self) -> list[psutil.Process]:
        """Its process, and all that it has started."""
        return [self.process, *self.process.children(recursive=True)]


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    kind: Kind, bundle: Path, sink: int, patience_s: float = 120, stdout: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[Server]:
    """Starts a server, waits until it answers, and ends it and its children afterwards.

    stdout: where its log goes.
    """
    port = free_port()
    model = f"{bundle}.joblib"
    fill = {"bundle": str(bundle), "model": model, "port": str(port), "sink": str(sink)}
    fill |= {"spare": str(free_port()), "spare2": str(free_port())}
    command = [part.format(**fill) for part in kind.command]
    environment = bare_environment() | {name: value.format(**fill) for name, value in kind.environment.items()}
    start = monotonic()
    process = subprocess.Popen(  # noqa: S603  # the servers of this file
        command, cwd=kind.folder, env=environment, stdout=stdout, stderr=subprocess.DEVNULL
    )
    try:
        _wait(process, port, kind, start + patience_s)
        yield Server(kind, port, psutil.Process(process.pid), monotonic() - start)
    finally:
        _end(process)


def bare_environment() -> dict[str, str]:
    """The environment without what would set up a server, or have it compile itself at every start.

    One OpenMP thread each: scikit-learn's predictions of a few rows are slower with more, those of every server.
    """
    not_ours = ("SIGHTLINE_", "OTEL_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(not_ours)}
    return kept | {"OMP_NUM_THREADS": "1"}


def _wait(process: "subprocess.Popen[bytes]", port: int, kind: Kind, deadline: float) -> None:
    while monotonic() < deadline:
        if process.poll() is not None:
            raise ChildProcessError(f"{kind.title} ended with {process.returncode} before it was ready")
        # Our supervisor listens before a worker can answer, so a connection alone proves nothing.
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(max(0.1, deadline - monotonic()))
            connection.sendall(_ANYTHING)
            if connection.recv(1):
                return
        sleep(0.005)
    raise TimeoutError(f"{kind.title} does not answer on port {port}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait(5)
