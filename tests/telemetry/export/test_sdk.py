"""Exporting for real to a server of the test's own, and ending in time whatever the endpoint does."""

import os
import socket
from time import monotonic

import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.export.sdk import Providers
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.trace_ring import TraceRing
from tests.telemetry.export.test_producer import Producing
from tests.telemetry.rows import random_rows
from tests.telemetry.serving import ENDED, predicted
from tests.telemetry.sink import Sink

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

pytestmark = pytest.mark.usefixtures("no_otel_variables")


KIND = RequestKind("GET", "/", 200)


def providers(
    producing: Producing, variables: dict[str, str] | None = None, ring: TraceRing | None = None
) -> Providers:
    """Providers in an environment, not started."""
    os.environ.update(variables or {})
    return Providers(producing.producer, ring)


@pytest.fixture
def producing(model: DescribedModel) -> Producing:
    """Nothing counted yet."""
    return Producing(model)


def test_the_last_count_leaves_at_shutdown(model: DescribedModel, producing: Producing, sink: Sink) -> None:
    """Rows counted and traces kept just before shutdown are in what the endpoint received, of one resource."""
    started = providers(producing, {ENDPOINT: f"http://127.0.0.1:{sink.server_port}"})
    started.start()
    producing.events.write(predicted(model, random_rows(300)[0]))
    started.write(ENDED, KIND, "asked")
    started.shutdown()
    (resource,) = sink.metrics[-1].resource_metrics
    metrics = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
    assert sum(point.as_int for point in metrics["ml.predictions"].sum.data_points) == 300
    assert sum(point.count for point in metrics["ml.prediction.score"].histogram.data_points) == 300
    spans = [s for t in sink.traces for r in t.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert [span.trace_id.hex() for span in spans] == [f"{ENDED.trace_id:032x}"]
    ids = {a.value.string_value for a in resource.resource.attributes if a.key == "service.instance.id"}
    assert len(ids) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("exporters_end")
@pytest.mark.parametrize("is_hanging", [False, True], ids=["dead", "hanging"])
def test_shutdown_ends_in_time(producing: Producing, is_hanging: bool) -> None:
    """With a dead or hanging endpoint shutdown takes at most five seconds and raises nothing."""
    with socket.socket() as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        if is_hanging:
            endpoint.listen(16)
        started = providers(producing, {ENDPOINT: f"http://127.0.0.1:{endpoint.getsockname()[1]}"})
        started.start()
        started.write(ENDED, KIND, "asked")
        start = monotonic()
        started.shutdown()
        assert monotonic() - start <= 5


def test_traces_are_kept_only_where_they_can_go(producing: Producing) -> None:
    """Without ring and endpoint no trace is kept; a ring, or an endpoint for traces, is enough."""
    assert not providers(producing).keeps_traces
    assert providers(producing, ring=TraceRing()).keeps_traces
    assert not providers(producing, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}).keeps_traces
    assert providers(producing, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}).keeps_traces
    assert not providers(producing, {ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}).keeps_traces


def test_nothing_is_written_before_the_start(producing: Producing) -> None:
    """A trace that ends before `start` goes nowhere and does no harm."""
    ring = TraceRing()
    providers(producing, ring=ring).write(ENDED, KIND, "asked")
    assert not ring.holds(ENDED.trace_id)
