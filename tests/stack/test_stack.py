"""The stack by itself, with the OpenTelemetry SDK as its only client: what is sent arrives, through outages too."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, format_span_id, format_trace_id

from sightline_service.diagnostics.clients import Prometheus, StoredSpan, TraceStore
from tests.stack.polling import poll_until
from tests.stack.processes import BACKENDS, COLLECTOR, ROOT, Stack, binary

pytestmark = pytest.mark.stack

ARRIVES_S = 30.0


VENDOR = {"OTLP_VENDOR_ENDPOINT": "https://otlp.example.com", "OTLP_VENDOR_HEADERS": "{authorization: Basic a2V5}"}


def _backends(signal: str, *, alone: bool = False) -> list[Path]:
    """The overlays that lead a signal, `metrics` or `traces`, to a backend; alone: and no other signal."""
    overlays = {path: yaml.safe_load(path.read_text())["service"]["pipelines"] for path in BACKENDS.glob("*.yaml")}
    taken = {path: {pipeline.partition("/")[0] for pipeline in pipelines} for path, pipelines in overlays.items()}
    return sorted(path for path, signals in taken.items() if signal in signals and (len(signals) == 1 or not alone))


SETS = [*product(_backends("metrics"), _backends("traces")), tuple(sorted(BACKENDS.glob("*.yaml")))]


def _check(*command: str | Path) -> tuple[int, str]:
    """Exit code and output of a program that checks a file."""
    environment = {**os.environ, **VENDOR}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


def _validate(*overlays: Path) -> tuple[int, str]:
    configs = (COLLECTOR / "base.yaml", *overlays)
    return _check(binary("otelcol"), "validate", *(f"--config={config}" for config in configs))


def _resource(name: str) -> Resource:
    return Resource({"service.name": name, "service.version": "1.2", "service.instance.id": f"{name}-0"})


@contextmanager
def _meter(stack: Stack, name: str) -> Iterator[Meter]:
    """A meter of a service of this name; at the end everything is exported, once."""
    exporter = OTLPMetricExporter(endpoint=f"{stack.otlp_endpoint}/v1/metrics", timeout=10)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=_resource(name), shutdown_on_exit=False)
    yield provider.get_meter("tests.stack")
    provider.shutdown()


def _exporter(stack: Stack, protocol: str = "http") -> SpanExporter:
    if protocol == "grpc":
        return GrpcSpanExporter(endpoint=stack.otlp_grpc_endpoint, insecure=True, timeout=10)
    return OTLPSpanExporter(endpoint=f"{stack.otlp_endpoint}/v1/traces", timeout=10)


def _send_trace(exporter: SpanExporter) -> tuple[ReadableSpan, ReadableSpan]:
    """Sends a server span that failed and its child, and returns both."""
    provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource("traced"), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests.stack")
    with tracer.start_as_current_span("GET /x", kind=SpanKind.SERVER, attributes={"http.route": "/x"}) as server:
        server.set_status(Status(StatusCode.ERROR))
        with tracer.start_as_current_span("predict", attributes={"ml.rows": 3}) as child:
            pass
    provider.shutdown()
    assert isinstance(server, ReadableSpan)
    assert isinstance(child, ReadableSpan)
    return server, child


def _trace_id(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return format_trace_id(context.trace_id)


def _stored(stack: Stack, server: ReadableSpan) -> dict[str, StoredSpan]:
    """The spans of a trace of two by name, as soon as the trace store has both."""
    trace_id = _trace_id(server)
    with TraceStore(stack.traces_url) as traces:
        poll_until(lambda: len(traces.trace(trace_id)) >= 2, ARRIVES_S)
        return {span.name: span for span in traces.trace(trace_id)}


def _as_stored(span: ReadableSpan, attributes: dict[str, str]) -> StoredSpan:
    """What the trace store has to answer for a span that was sent."""
    context = span.get_span_context()
    assert context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    return StoredSpan(
        name=span.name,
        span_id=format_span_id(context.span_id),
        parent_id=format_span_id(span.parent.span_id) if span.parent else "",
        start_ns=span.start_time,
        end_ns=span.end_time,
        attributes=attributes,
        kind=span.kind.name,
        status=span.status.status_code.name,
    )


@pytest.mark.parametrize("overlays", SETS, ids=lambda paths: "+".join(path.stem for path in paths))
def test_collector_takes_every_set_of_backends(overlays: tuple[Path, ...]) -> None:
    """The base with a backend for each signal, and with all of them, is valid, and nothing in it is deprecated."""
    assert _validate(*overlays) == (0, "")


@pytest.mark.parametrize(("signal", "lacking"), [("metrics", "traces"), ("traces", "metrics")])
def test_collector_names_the_signal_that_leads_nowhere(signal: str, lacking: str) -> None:
    """Without a backend for one of the two signals the collector does not start, and says which."""
    code, output = _validate(_backends(signal, alone=True)[0])
    assert code == 1
    assert f'connector "forward/{lacking}" used as exporter in [{lacking}/in] pipeline but not used' in output


def test_tempo_keeps_to_its_folder(stack: Stack) -> None:
    """All that Tempo writes is in its folder: it needs no rights elsewhere, and two of them do not mix."""
    if not stack.has_tempo:
        pytest.skip("the trace store is Jaeger, which keeps its traces in memory")
    config = httpx.get(f"{stack.traces_url}/status/config").text
    assert f"{stack.folder}/tempo/blocks" in config
    assert "/var/tempo" not in config


def test_prometheus_takes_its_config() -> None:
    """Promtool finds the committed config valid."""
    code, output = _check(binary("promtool"), "check", "config", ROOT / "prometheus" / "prometheus.yml")
    assert (code, "SUCCESS" in output) == (0, True), output


def test_counter_arrives(stack: Stack) -> None:
    """A counter has its value; its labels are its attributes and its process' identity, and no scope."""
    with _meter(stack, "counting") as meter:
        meter.create_counter("stack.rows").add(7, {"model.name": "m"})
    with Prometheus(stack.prometheus_url) as prometheus:
        poll_until(lambda: prometheus.query("stack_rows_total"), ARRIVES_S)
        (sample,) = prometheus.query("stack_rows_total")
    assert sample.value == 7
    assert sample.labels == {
        "__name__": "stack_rows_total",
        "model_name": "m",
        "service_name": "counting",
        "service_version": "1.2",
        "service_instance_id": "counting-0",
        "job": "counting",
        "instance": "counting-0",
    }


def test_histogram_arrives_with_its_exemplar(stack: Stack) -> None:
    """Buckets and sum are those of the recorded values; the value of the sampled span alone is an exemplar."""
    started_s = time.time()
    tracer = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False).get_tracer("tests.stack")
    with _meter(stack, "windows") as meter:
        seconds = meter.create_histogram("stack.time", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
        seconds.record(0.05)
        with tracer.start_as_current_span("slow") as span:
            seconds.record(0.5)
    with Prometheus(stack.prometheus_url) as prometheus:
        poll_until(lambda: prometheus.query("stack_time_seconds_bucket"), ARRIVES_S)
        buckets = {s.labels["le"]: s.value for s in prometheus.query("stack_time_seconds_bucket")}
        total_s = prometheus.value("stack_time_seconds_sum")
        (exemplar,) = prometheus.exemplars("stack_time_seconds_bucket", started_s, time.time())
    assert buckets == {"0.1": 1, "1": 2, "+Inf": 2}  # scraped from /metrics, the same bound would be "1.0"
    assert total_s == pytest.approx(0.55)
    assert exemplar.trace_id == format_trace_id(span.get_span_context().trace_id)
    assert exemplar.value == 0.5
    assert started_s - 0.001 <= exemplar.timestamp_s <= time.time()
    assert exemplar.labels["service_name"] == "windows"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_trace_arrives(stack: Stack, protocol: str) -> None:
    """Both spans of a trace come back as sent: ids, parent, times, kind, status and attributes."""
    server, child = _send_trace(_exporter(stack, protocol))
    assert _stored(stack, server) == {
        "GET /x": _as_stored(server, {"http.route": "/x"}),
        "predict": _as_stored(child, {"ml.rows": "3"}),
    }


def test_spans_that_arrive_again_are_read_once(stack: Stack) -> None:
    """A trace sent three times, as a sender's retries may do, has its two spans and no more."""
    sent = _send_trace(_exporter(stack))
    assert set(_stored(stack, sent[0])) == {"GET /x", "predict"}
    for _ in range(2):
        assert _exporter(stack).export(sent) is SpanExportResult.SUCCESS
    marker, _ = _send_trace(_exporter(stack))
    assert set(_stored(stack, marker)) == {"GET /x", "predict"}
    with TraceStore(stack.traces_url) as traces:
        assert sorted(span.name for span in traces.trace(_trace_id(sent[0]))) == ["GET /x", "predict"]


@pytest.mark.parametrize("kill", [True, False], ids=["SIGKILL", "SIGTERM"])
def test_restarted_collector_is_back_at_the_same_address(stack: Stack, kill: bool) -> None:
    """After its end and a new start, what is sent to the same endpoint arrives."""
    before = stack.collector.pid
    stack.restart_collector(kill=kill)
    assert stack.collector.pid != before
    server, _ = _send_trace(_exporter(stack))
    assert set(_stored(stack, server)) == {"GET /x", "predict"}


def test_queue_outlives_the_collector(stack: Stack) -> None:
    """What waits for a dead Prometheus survives a SIGKILL of the collector and arrives with its own time."""
    stack.prometheus.kill()
    try:
        with _meter(stack, "waiting") as meter:
            meter.create_counter("stack.waiting").add(5)
        exported_s = time.time()
        stack.restart_collector(kill=True)
    finally:
        stack.prometheus.start()
    with Prometheus(stack.prometheus_url) as prometheus:
        poll_until(lambda: prometheus.query("stack_waiting_total"), ARRIVES_S)
        assert prometheus.value("stack_waiting_total") == 5
        assert prometheus.value("timestamp(stack_waiting_total)") <= exported_s
