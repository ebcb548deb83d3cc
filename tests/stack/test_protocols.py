"""OTLP over gRPC and over HTTP, and several workers: the same counts arrive."""

from pathlib import Path

import httpx2 as httpx
import pytest

from sightline_service.diagnostics.clients import Prometheus, TraceStore
from tests.stack.polling import poll_until
from tests.stack.processes import Stack, free_port, service_process

pytestmark = pytest.mark.stack

ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_both_protocols_arrive(stack: Stack, small_bundle: Path, protocol: str) -> None:
    """Counts and traces arrive by either protocol, under the service's own name."""
    name = f"by-{protocol.partition('/')[0]}"
    endpoint = stack.otlp_grpc_endpoint if protocol == "grpc" else stack.otlp_endpoint
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": name,
    }
    port = free_port()
    with (
        service_process(stack, small_bundle, port, name, variables),
        Prometheus(stack.prometheus_url) as prometheus,
        TraceStore(stack.traces_url) as traces,
    ):
        url = f"http://127.0.0.1:{port}/predict/model"
        answer = httpx.post(url, json={"instances": [ROW] * 7}).raise_for_status().json()
        query = f'sum(ml_predictions_total{{service_name="{name}"}})'
        poll_until(lambda: prometheus.value(query) == 7, 20)
        assert len(poll_until(lambda: traces.trace(answer["trace_id"]), 20)) == 5


def test_the_counts_of_workers_leave_as_one(stack: Stack, small_bundle: Path) -> None:
    """Two workers are exported as one instance, whose counts are the rows that were answered, after SIGTERM too."""
    port = free_port()
    variables = {"OTEL_SERVICE_NAME": "two-workers"}
    with Prometheus(stack.prometheus_url) as prometheus:
        with service_process(stack, small_bundle, port, "two-workers", variables, workers=2) as service:
            for _ in range(60):  # a connection each, so that both workers get some
                response = httpx.post(f"http://127.0.0.1:{port}/predict/model", json={"instances": [ROW] * 3})
                assert response.status_code == httpx.codes.OK
            service.stop()
        selector = 'ml_predictions_total{service_name="two-workers"}'
        poll_until(lambda: prometheus.value(f"sum(last_over_time({selector}[10m]))") == 180, 20)
        instances = prometheus.query(f"count by (service_instance_id) (last_over_time({selector}[10m]))")
        assert len(instances) == 1
