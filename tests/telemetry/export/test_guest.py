"""The SDK of a worker costs nothing until others use it, and ends in time whatever the endpoint does."""

import subprocess
import sys

import pytest

DEAD = "http://127.0.0.1:9"
WORKER = """
import logging, os, time
logging.disable(logging.CRITICAL)
from opentelemetry.metrics import get_meter
from sightline_telemetry.export.guest import GuestProviders

guest = GuestProviders({})
guest.start(is_head_sampled=False)
if HAS_METRIC:
    get_meter("others").create_counter("others").add(1)
time.sleep(0.5)
start = time.monotonic()
guest.stop()
took = time.monotonic() - start
import sys
print(took < 3, "opentelemetry.exporter.otlp.proto.http.metric_exporter" in sys.modules)
"""


@pytest.mark.parametrize("has_metric", [False, True])
def test_an_exporter_is_made_for_metrics_of_others(has_metric: bool) -> None:
    """Without an instrument of others no exporter is loaded; with one, a dead endpoint delays the end a little."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": DEAD, "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    code = WORKER.replace("HAS_METRIC", str(has_metric))
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.split() == ["True", str(has_metric)]
