"""A backend is swapped by naming another file of otel-collector/backends/: the service does not notice."""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2 as httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sightline_service.diagnostics.clients import Prometheus, TraceStore
from sightline_service.diagnostics.stations import examine_deployment
from sightline_telemetry.requests.timeline import Timeline
from tests.stack.polling import poll_until
from tests.stack.processes import BACKENDS, COLLECTOR, Process, Stack, binary, free_port, service_process

pytestmark = pytest.mark.stack

ARRIVES_S = 30.0
ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
COUNTS = {
    "sum by (outcome) (ml_predictions_total)": "outcome",
    "sum by (category) (ml_feature_categories_total)": "category",
    'sum by (feature) (ml_feature_value_bucket{le="+Inf"})': "feature",
    "sum by (http_response_status_code) (http_server_request_duration_seconds_count)": "http_response_status_code",
}


def _predict(url: str, n_rows: int) -> str:
    """Has rows predicted under a trace that is asked for; returns the trace id."""
    caller = Timeline()
    headers = {"traceparent": f"00-{caller.trace_id_hex}-{caller.span_id:016x}-01"}
    rows = [{**ROW, "city": ("Bern", "Oslo", None)[row % 3], "age": float(20 + row % 50)} for row in range(n_rows)]
    httpx.post(f"{url}/predict/model", json={"instances": rows}, headers=headers).raise_for_status()
    return caller.trace_id_hex


def _counts(backend: Prometheus) -> dict[str, dict[str, float]]:
    return {
        promql: {sample.labels.get(label, ""): sample.value for sample in backend.query(promql) if sample.value}
        for promql, label in COUNTS.items()
    }


@contextmanager
def _serving(stack: Stack, bundle: Path) -> Iterator[str]:
    port = free_port()
    with service_process(stack, bundle, port, "swapped") as service:
        yield f"http://127.0.0.1:{port}"
        service.stop()  # a killed one's observer would send its last counts into the backends of the next test


def test_both_signals_change_their_backend(
    stack: Stack, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Prometheus and the console to VictoriaMetrics and Jaeger: one process of the service, the same counts."""
    with (
        stack.victoria_metrics,
        _serving(stack, small_bundle) as url,
        Prometheus(stack.prometheus_url) as prometheus,
        Prometheus(stack.victoria_metrics_url) as victoria,
        TraceStore(stack.traces_url) as traces,
    ):
        stack.swap_backends("prometheus", "console")
        before = _predict(url, 30)
        poll_until(lambda: prometheus.value("sum(ml_predictions_total)") == 30, ARRIVES_S)
        assert victoria.query("ml_predictions_total") == []
        old = _counts(prometheus)
        stack.swap_backends("victoriametrics", "jaeger")
        poll_until(lambda: victoria.value("sum(ml_predictions_total)") == 30, ARRIVES_S)
        new = _counts(victoria)
        after = _predict(url, 12)
        poll_until(lambda: traces.trace(after), ARRIVES_S)
        poll_until(lambda: victoria.value("sum(ml_predictions_total)") == 42, ARRIVES_S)
        assert traces.trace(before) == []  # the console has it
        assert prometheus.value("sum(ml_predictions_total)") == 30
        results = list(examine_deployment(url, stack.victoria_metrics_url, stack.traces_url, ARRIVES_S))
    assert [result.cause for result in results] == [None] * 6, results
    assert new == old
    assert before in stack.collector.log.read_text()
    with capsys.disabled():
        print()
        for promql in COUNTS:
            print(f"  {promql}\n    Prometheus      {old[promql]}\n    VictoriaMetrics {new[promql]}")


class _Vendor(ThreadingHTTPServer):
    """Takes OTLP over HTTP from those who are allowed in, as a vendor does."""

    def __init__(self, authorization: str) -> None:
        super().__init__(("127.0.0.1", 0), _VendorRequest)
        self.authorization = authorization
        self.metric_names: set[str] = set()
        self.refused = 0


class _VendorRequest(BaseHTTPRequestHandler):
    server: _Vendor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        is_known = self.headers.get("authorization") == self.server.authorization
        self.server.refused += not is_known
        if is_known and self.path == "/v1/metrics":
            exported = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
            scopes = (scope for resource in exported.resource_metrics for scope in resource.scope_metrics)
            self.server.metric_names.update(metric.name for scope in scopes for metric in scope.metrics)
        self.send_response(200 if is_known else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Discards log lines."""


def test_vendor_knows_us_by_a_header(stack: Stack, small_bundle: Path) -> None:
    """The header from the environment is what lets metrics in at any receiver of OTLP."""
    vendor = _Vendor("Basic dXNlcjprZXk=")
    Thread(target=vendor.serve_forever, daemon=True).start()
    variables = {
        "OTLP_VENDOR_ENDPOINT": f"http://127.0.0.1:{vendor.server_port}",
        "OTLP_VENDOR_HEADERS": "{authorization: Basic dXNlcjprZXk=}",
    }
    try:
        with stack.collector_with("otlp-vendor", **variables), _serving(stack, small_bundle):
            poll_until(lambda: {"ml.predictions", "ml.feature.value"} <= vendor.metric_names, ARRIVES_S)
    finally:
        vendor.shutdown()
        vendor.server_close()
    assert vendor.refused == 0


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"OTLP_VENDOR_HEADERS": "{authorization: Basic dXNlcjprZXk=}"}, "OTLP_VENDOR_ENDPOINT"),
        ({"OTLP_VENDOR_ENDPOINT": "https://otlp.example.com"}, "OTLP_VENDOR_HEADERS"),
    ],
)
def test_missing_variable_stops_the_collector(tmp_path: Path, given: dict[str, str], missing: str) -> None:
    """A variable that an overlay needs and that is not set is named, and nothing starts."""
    configs = (COLLECTOR / "base.yaml", BACKENDS / "otlp-vendor.yaml")
    command: list[str | Path] = [binary("otelcol"), *(f"--config={config}" for config in configs)]
    process = Process("collector", command, "http://127.0.0.1:1/", tmp_path / "collector.log", given)
    started_s = time.monotonic()
    with pytest.raises(RuntimeError, match="ended with exit code 1") as stopped:
        process.start()
    assert missing in str(stopped.value)
    assert time.monotonic() - started_s < ARRIVES_S
