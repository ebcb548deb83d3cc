"""The stack that tests run: the committed config files, native processes, free ports on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx

from prometheus.windows import Windows, parse
from prometheus.write import write as write_rules
from tests.stack.polling import poll_until

ROOT = Path(__file__).parents[2]
COLLECTOR, BACKENDS = ROOT / "otel-collector", ROOT / "otel-collector" / "backends"
READY_S = 90.0


def binary(name: str) -> Path:
    """A binary that `make stack` built. Raises FileNotFoundError, which says so, if it is not there."""
    cache = (
        os.environ.get("STACK_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/sightline-stack"
    )
    path = Path(cache) / "bin" / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; build the test stack with `make stack`")
    return path


def free_port() -> int:
    """A TCP port that is free at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Process:
    """A program that runs beside the test, with its output in a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        ready_url: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._ready_url = ready_url
        self._environment = {**os.environ, **(environment or {})}
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError if it was not started."""
        if self._running is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._running.pid

    def __enter__(self) -> "Process":
        """Starts it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kills it, if it still runs."""
        self.kill()

    def start(self) -> None:
        """Starts it and waits until it answers. Raises RuntimeError with its last lines if it does not."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        try:
            with httpx.Client(timeout=2) as client:  # one for all attempts: each makes a TLS context, which takes long
                poll_until(lambda: self._is_ready(client), READY_S)
        except TimeoutError:
            self.kill()
            raise RuntimeError(f"{self.name} does not answer at {self._ready_url}:\n{self.tail()}") from None
        except BaseException:  # Ctrl-C, too, must not leave it running: __exit__ is not called if __enter__ raises
            self.kill()
            raise

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ends it with SIGTERM and returns its exit code."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> int:
        """Ends it with SIGKILL: nothing is flushed."""
        return self._end(signal.SIGKILL, 10.0)

    def tail(self, lines: int = 30) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self, how: signal.Signals, timeout_s: float) -> int:
        if self._running is None:
            return 0
        running, self._running = self._running, None
        running.send_signal(how)
        try:
            return running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise

    def _is_ready(self, client: httpx.Client) -> bool:
        if self._running is not None and self._running.poll() is not None:
            raise RuntimeError(f"{self.name} ended with exit code {self._running.returncode}:\n{self.tail()}")
        try:
            return client.get(self._ready_url).is_success
        except httpx.TransportError:
            return False


class Stack:
    """Collector, Prometheus and a trace store: Tempo if `tempo` is on PATH, Jaeger otherwise.

    `victoria_metrics` is a second metrics backend, for tests that swap; they start it themselves.
    window: of the rules, if they shall judge in minutes, as "2m"; otherwise those of production are loaded.
    """

    def __init__(self, folder: Path, window: str | None = None) -> None:
        self.folder = folder
        self._running = ExitStack()
        self.prometheus_url = f"http://127.0.0.1:{free_port()}"
        self.has_tempo = shutil.which("tempo") is not None
        self._trace_http, self._trace_otlp = free_port(), free_port()
        self.traces_url = f"http://127.0.0.1:{self._trace_http}"
        self._otlp_http, self._otlp_grpc = free_port(), free_port()
        self.otlp_endpoint = f"http://127.0.0.1:{self._otlp_http}"
        self.otlp_grpc_endpoint = f"http://127.0.0.1:{self._otlp_grpc}"
        self.victoria_metrics_url = f"http://127.0.0.1:{free_port()}"
        self._environment = self._collector_environment()
        self._prometheus_config = self._configure_prometheus(window)
        self.prometheus = self.build_prometheus()
        self.victoria_metrics = self._build_victoria_metrics()
        self.trace_store = self._build_tempo() if self.has_tempo else self._build_jaeger()
        self._overlays = ("prometheus", "tempo" if self.has_tempo else "jaeger")
        self.collector = self._build_collector(self._overlays)

    def __enter__(self) -> "Stack":
        """Starts all three, the collector last."""
        with ExitStack() as starting:
            for process in (self.prometheus, self.trace_store, self.collector):
                starting.enter_context(process)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all three."""
        self._running.close()

    def restart_collector(self, *, kill: bool = True) -> None:
        """Ends the collector, by SIGKILL or SIGTERM, and starts it on the same ports and the same queue."""
        end = self.collector.kill if kill else self.collector.stop
        end()
        self.collector.start()

    def swap_backends(self, *overlays: str) -> None:
        """Ends the collector and starts it on the same ports with other files of backends/, by their names."""
        self.collector.stop()
        self.collector = self._build_collector(overlays)
        self._running.enter_context(self.collector)

    @contextmanager
    def collector_with(self, *overlays: str, **environment: str) -> Iterator[None]:
        """The collector on the same ports, with other overlays if any are named, and variables of its own."""
        self.collector.stop()
        try:
            with self._build_collector(overlays or self._overlays, environment):
                yield
        finally:
            self.collector.start()

    def _configure_prometheus(self, window: str | None) -> Path:
        """prometheus.yml with the collector's address here, beside the rules: the committed ones, or of a window."""
        folder = self.folder / "prometheus-config"
        shutil.copytree(ROOT / "prometheus" / "rules", folder / "rules")
        if window is not None:
            write_rules(folder / "rules", Windows(parse(window)))
        config = (ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        collector = f"{self._environment['COLLECTOR_METRICS_HOST']}:{self._environment['COLLECTOR_METRICS_PORT']}"
        (folder / "prometheus.yml").write_text(config.replace("collector:8888", collector), encoding="utf-8")
        return folder / "prometheus.yml"

    def build_prometheus(self, *left_out: str) -> Process:
        """Prometheus with its flags, less those that are left out."""
        flags = [
            f"--config.file={self._prometheus_config}",
            f"--web.user-assets={ROOT / 'prometheus' / 'runbooks'}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={self.prometheus_url.removeprefix('http://')}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ]
        command: list[str | Path] = [binary("prometheus"), *(flag for flag in flags if flag not in left_out)]
        return self._process("prometheus", command, f"{self.prometheus_url}/-/ready")

    def _process(
        self, name: str, command: Sequence[str | Path], ready_url: str, environment: Mapping[str, str] | None = None
    ) -> Process:
        return Process(name, command, ready_url, self.folder / f"{name}.log", environment)

    def _build_victoria_metrics(self) -> Process:
        flags = [
            f"-storageDataPath={self.folder / 'victoria-metrics'}",
            f"-httpListenAddr={self.victoria_metrics_url.removeprefix('http://')}",
            "-opentelemetry.usePrometheusNaming",
            "-search.latencyOffset=0s",  # else an instant query answers with what was there 30 s ago
        ]
        command: list[str | Path] = [binary("victoria-metrics"), *flags]
        return self._process("victoria-metrics", command, f"{self.victoria_metrics_url}/health")

    def _build_jaeger(self) -> Process:
        environment = {
            "JAEGER_HTTP_ENDPOINT": f"127.0.0.1:{self._trace_http}",
            "JAEGER_GRPC_ENDPOINT": f"127.0.0.1:{free_port()}",
            "JAEGER_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self._trace_otlp}",
            "OTEL_TRACES_SAMPLER": "always_off",
        }
        command: list[str | Path] = [binary("jaeger"), "--config", ROOT / "tests" / "stack" / "jaeger.yaml"]
        return self._process("jaeger", command, f"{self.traces_url}/api/services", environment)

    def _build_tempo(self) -> Process:
        environment = {
            "TEMPO_ADDRESS": "127.0.0.1",
            "TEMPO_HTTP_PORT": str(self._trace_http),
            "TEMPO_GRPC_PORT": str(free_port()),
            "TEMPO_OTLP_ENDPOINT": f"127.0.0.1:{self._trace_otlp}",
            "TEMPO_DATA": str(self.folder / "tempo"),
        }
        command = ["tempo", f"-config.file={ROOT / 'tempo' / 'tempo.yaml'}", "-config.expand-env=true"]
        return self._process("tempo", command, f"{self.traces_url}/ready", environment)

    def _collector_environment(self) -> dict[str, str]:
        return {
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self._otlp_http}",
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self._otlp_grpc}",
            "HEALTH_ENDPOINT": f"127.0.0.1:{free_port()}",
            "QUEUE_DIR": str(self.folder / "queue"),
            "COLLECTOR_METRICS_HOST": "127.0.0.1",
            "COLLECTOR_METRICS_PORT": str(free_port()),
            "PROMETHEUS_OTLP_ENDPOINT": f"{self.prometheus_url}/api/v1/otlp",
            "VICTORIAMETRICS_OTLP_ENDPOINT": f"{self.victoria_metrics_url}/opentelemetry",
            "TEMPO_OTLP_ENDPOINT": f"http://127.0.0.1:{self._trace_otlp}",
            "JAEGER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._trace_otlp}",
        }

    def _build_collector(self, overlays: Sequence[str], changed: Mapping[str, str] | None = None) -> Process:
        configs = (COLLECTOR / "base.yaml", *(BACKENDS / f"{overlay}.yaml" for overlay in overlays))
        command: list[str | Path] = [binary("otelcol"), *(f"--config={config}" for config in configs)]
        environment = {**self._environment, **(changed or {})}
        return self._process("collector", command, f"http://{environment['HEALTH_ENDPOINT']}/", environment)


def service_process(
    stack: Stack,
    bundle: Path,
    port: int,
    name: str = "service",
    environment: Mapping[str, str] | None = None,
    *,
    workers: int = 1,
) -> Process:
    """`sightline serve` as a process of its own, exporting to the stack's collector every second."""
    sightline = Path(sys.executable).with_name("sightline")
    command: list[str | Path] = [sightline, "serve", bundle, "--port", str(port), "--workers", str(workers)]
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "SIGHTLINE_RANDOM_ENDPOINT": "true",
        **(environment or {}),
    }
    return Process(name, command, f"http://127.0.0.1:{port}/readyz", stack.folder / f"{name}.log", variables)
