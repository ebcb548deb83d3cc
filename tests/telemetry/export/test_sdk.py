"""Exporting for real to a server of the test's own, and ending in time whatever the endpoint does."""

import os
import socket
from time import monotonic

import pytest

from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.sdk import Providers
from sightline_telemetry.export.trace_ring import TraceRing
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.recorder import Recorder
from sightline_telemetry.requests.golden_signals import GoldenSignals
from sightline_telemetry.requests.tail_sampling import TailSampler
from sightline_telemetry.requests.timeline import Timeline
from tests.telemetry.model.test_recorder import random_rows
from tests.telemetry.sink import Sink

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

pytestmark = pytest.mark.usefixtures("no_otel_variables")


def providers(recorder: Recorder, variables: dict[str, str] | None = None, ring: TraceRing | None = None) -> Providers:
    """Providers in an environment, not started."""
    os.environ.update(variables or {})
    producer = Producer(GoldenSignals(), [recorder], TailSampler(), Faults("middleware"))
    return Providers(producer, ring)


def ended() -> Timeline:
    """A timeline that has ended."""
    line = Timeline()
    line.end()
    return line


def test_the_last_count_leaves_at_shutdown(recorder: Recorder, sink: Sink) -> None:
    """Rows counted and traces kept just before shutdown are in what the endpoint received, of one resource."""
    started = providers(recorder, {ENDPOINT: f"http://127.0.0.1:{sink.server_port}"})
    started.start()
    recorder.record(random_rows(300)[0])
    line = ended()
    started.write(line, "GET /", {}, has_failed=False)
    started.shutdown()
    (resource,) = sink.metrics[-1].resource_metrics
    metrics = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
    assert sum(point.as_int for point in metrics["ml.predictions"].sum.data_points) == 300
    assert sum(point.count for point in metrics["ml.prediction.score"].histogram.data_points) == 300
    spans = [s for t in sink.traces for r in t.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert [span.trace_id.hex() for span in spans] == [line.trace_id_hex]
    ids = {a.value.string_value for a in resource.resource.attributes if a.key == "service.instance.id"}
    assert len(ids) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("exporters_end")
@pytest.mark.parametrize("is_hanging", [False, True], ids=["dead", "hanging"])
def test_shutdown_ends_in_time(recorder: Recorder, is_hanging: bool) -> None:
    """With a dead or hanging endpoint shutdown takes at most five seconds and raises nothing."""
    with socket.socket() as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        if is_hanging:
            endpoint.listen(16)
        started = providers(recorder, {ENDPOINT: f"http://127.0.0.1:{endpoint.getsockname()[1]}"})
        started.start()
        started.write(ended(), "GET /", {}, has_failed=False)
        start = monotonic()
        started.shutdown()
        assert monotonic() - start <= 5


def test_traces_are_kept_only_where_they_can_go(recorder: Recorder) -> None:
    """Without ring and endpoint no trace is kept; a ring, or an endpoint for traces, is enough."""
    assert not providers(recorder).keeps_traces
    assert providers(recorder, ring=TraceRing()).keeps_traces
    assert not providers(recorder, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}).keeps_traces
    assert providers(recorder, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}).keeps_traces
    assert not providers(recorder, {ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}).keeps_traces


def test_nothing_is_written_before_the_start(recorder: Recorder) -> None:
    """A trace that ends before `start` goes nowhere and does no harm."""
    ring = TraceRing()
    line = ended()
    providers(recorder, ring=ring).write(line, "GET /", {}, has_failed=False)
    assert not ring.holds(line.trace_id)
