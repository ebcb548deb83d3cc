"""`sightline serve` under `OTEL_*` variables: what leaves, and what is reported."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from tests.service.test_cli import COVERAGE, ROW, SIGHTLINE
from tests.stack.polling import poll_until
from tests.telemetry.sink import Sink

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


@contextmanager
def serving(folder: Path, log: Path, variables: dict[str, str], *options: str) -> Iterator[httpx.Client]:
    """Runs the command with variables; yields a client when it is ready."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [str(SIGHTLINE), "serve", str(folder), "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={"PATH": "/usr/bin", **COVERAGE, **variables}
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            def is_ready() -> bool:
                assert process.poll() is None, log.read_text()
                return _is_ready(client)

            poll_until(is_ready, 60)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def _predict(client: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = (
        client.post("/predict/model", json={"instances": [ROW]}, headers=TRACEPARENT).raise_for_status().json()
    )
    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "exemplars"),
    [((), "always_off"), (("--observer", "off"), "trace_based")],
    ids=["observer", "in process"],
)
def test_variables_have_their_effect(
    small_bundle: Path, tmp_path: Path, sink: Sink, options: tuple[str, ...], exemplars: str
) -> None:
    """Logs leave with their trace, metrics as deltas, spans within their limits, all under the name that is set."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_BLRP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=churn-api,team=a",
        "OTEL_METRICS_EXEMPLAR_FILTER": exemplars,
        "OTEL_SERVICE_NAME": "",
        "OTEL_LOG_LEVEL": "debug",
    }
    log = tmp_path / "log"
    with serving(small_bundle, log, variables, *options) as client:
        for _ in range(4):
            assert _predict(client)["trace_id"] == TRACE_ID
            client.get("/livez")

        def requests() -> list[Any]:
            return [each for each in sink.records() if each.trace_id.hex() == TRACE_ID]

        poll_until(lambda: len(requests()) == 4 and _rows(sink) == 4 and sink.spans(), 20)
        poll_until(lambda: len(sink.metrics) > 6, 20)
    assert {each.body.string_value for each in requests()} == {"POST /predict/model 200"}
    assert _rows(sink) == 4
    metrics = [m for r in sink.metrics for each in r.resource_metrics for s in each.scope_metrics for m in s.metrics]
    durations = [metric.histogram for metric in metrics if metric.name == "http.server.request.duration"]
    assert {histogram.aggregation_temporality for histogram in durations} == {DELTA}
    has_exemplars = any(point.exemplars for histogram in durations for point in histogram.data_points)
    assert has_exemplars == (exemplars != "always_off")
    assert {len(span.attributes) for span in sink.spans()} <= {0, 1, 2, 3}
    assert any(span.dropped_attributes_count for span in sink.spans())
    assert not any(name in span.name for span in sink.spans() for name in ("/livez", "/readyz"))
    resources = [
        *(r.resource for each in sink.metrics for r in each.resource_metrics),
        *(r.resource for each in sink.logs for r in each.resource_logs),
        *(r.resource for each in sink.traces for r in each.resource_spans),
    ]
    named = {tuple(sorted((a.key, a.value.string_value) for a in r.attributes if a.key in NAMES)) for r in resources}
    assert named == {(("service.name", "churn-api"), ("team", "a"))}
    assert log.read_text().count("OTEL_LOG_LEVEL") == 1


NAMES = ("service.name", "team")


def _rows(sink: Sink) -> int:
    """The sum of all deltas of predicted rows."""
    return sum(
        point.as_int
        for request in sink.metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "ml.predictions"
        for point in metric.sum.data_points
    )


_PROPAGATOR = '''
from opentelemetry import trace
from opentelemetry.propagators.textmap import TextMapPropagator

class Twice(TextMapPropagator):
    """Reads a trace id from a header of its own."""

    fields = {"x-trace"}

    def extract(self, carrier, context=None, getter=None):
        (found,) = getter.get(carrier, "x-trace") or [""]
        span = trace.SpanContext(int(found or "0", 16), 1, True, trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(span), context)

    def inject(self, carrier, context=None, setter=None):
        pass
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "is_continued"), [("none", False), ("baggage", False), ("mine", True), ("tracecontext,mine", True)]
)
def test_the_configured_propagator_reads_the_caller(
    small_bundle: Path, tmp_path: Path, names: str, is_continued: bool
) -> None:
    """A propagator that a package brings says which trace is continued; `none` and baggage alone continue none."""
    (tmp_path / "mine.py").write_text(_PROPAGATOR)
    metadata = tmp_path / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[opentelemetry_propagator]\nmine = mine:Twice\n")
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_PROPAGATORS": names}
    with serving(small_bundle, tmp_path / "log", variables) as client:
        answer = client.post("/predict/model", json={"instances": [ROW]}, headers={"x-trace": TRACE_ID, **TRACEPARENT})
        assert (answer.json()["trace_id"] == TRACE_ID) == is_continued


def test_a_propagator_that_is_not_installed_is_one_sentence(small_bundle: Path) -> None:
    """The command ends with exit code 2, and names the propagator and a package."""
    done = subprocess.run(
        [sys.executable, SIGHTLINE, "serve", small_bundle],
        env={"PATH": "/usr/bin", **COVERAGE, "OTEL_PROPAGATORS": "tracecontext,b3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "sightline: OTEL_PROPAGATORS names b3, which is not installed: install the package that brings it, such as "
        "opentelemetry-propagator-b3, or take it out"
    )
