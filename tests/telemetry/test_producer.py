"""What leaves the process, seen at the receiving end: every instrument, at 0 from the start, exemplars included."""

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider

from telemetry.counts import Exemplar
from telemetry.faults import Faults
from telemetry.golden_signals import GoldenSignals, RequestKind
from telemetry.names import INSTRUMENTS, PREDICTIONS, Instrument
from telemetry.producer import Producer
from telemetry.recorder import Recorder
from telemetry.tail_sampling import TailSampler
from telemetry.testing import MetricsInMemory
from tests.telemetry.test_recorder import random_rows

# Named already, for rules and dashboards; the recorder does not make them yet.
UNMADE = {
    "ml.prediction.confidence",
    "ml.feature.out_of_range",
    "ml.reference.feature.singletons",
    "ml.reference.drift.floor",
    "ml.reference.label.value",
}


class Producing:
    """A producer behind a real meter provider, read in memory."""

    def __init__(self, recorder: Recorder) -> None:
        self.signals = GoldenSignals()
        self.signals.expect("POST", "/predict/model", [200, 500])
        self.producer = Producer(self.signals, [recorder], TailSampler(), Faults("middleware"))
        self.reader = MetricsInMemory(self.producer)
        self._meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.producer.register(self._meters.get_meter("sightline"))

    def received(self) -> dict[str, Any]:
        """Metrics by name, as the OTLP encoder would send them."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = encode_metrics(data).resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}


@pytest.fixture
def producing(recorder: Recorder) -> Producing:
    """Nothing counted yet."""
    return Producing(recorder)


OURS = [each for each in INSTRUMENTS if each.source not in ("process", "labels") and each.name not in UNMADE]


@pytest.mark.parametrize("instrument", OURS, ids=lambda instrument: instrument.name)
def test_every_instrument_leaves_from_the_start(producing: Producing, instrument: Instrument) -> None:
    """Each instrument of the list is encoded before the first request, with its unit, kind and attributes."""
    metric = producing.received()[instrument.name]
    assert metric.unit == instrument.unit
    kind = metric.WhichOneof("data")
    assert kind == {"counter": "sum", "updowncounter": "sum"}.get(instrument.kind, instrument.kind)
    points = getattr(metric, kind).data_points
    assert points
    for point in points:
        assert {attribute.key for attribute in point.attributes} <= set(instrument.attributes)
    if instrument.kind in ("counter", "updowncounter"):
        assert metric.sum.is_monotonic == (instrument.kind == "counter")
    if not instrument.name.startswith("ml.reference."):
        values = [point.count if kind == "histogram" else point.as_int for point in points]
        assert set(values) == ({5} if instrument.name == "ml.queue.length" else {0})


def test_counts_leave_as_they_are(producing: Producing, recorder: Recorder) -> None:
    """What was counted is what leaves, by outcome and feature."""
    rows, data = random_rows(1000)
    recorder.record(rows)
    late = int((data["yes"] > 0.5).sum())
    points = producing.reader.points(PREDICTIONS.name)
    assert {attributes["outcome"]: value for attributes, value in points} == {"no": 1000 - late, "yes": late}
    imputed = {attributes["feature"]: value for attributes, value in producing.reader.points("ml.feature.imputed")}
    assert imputed == {"age": int(data["age"].isna().sum()), "city": int((data["city"] == "__missing__").sum())}


def test_an_exemplar_leaves_once_with_its_ids(producing: Producing) -> None:
    """An exemplar is exported in its interval, in its bucket, with trace and span id; then no more."""
    series = producing.signals.series(RequestKind("POST", "/predict/model", 200))
    series.offer(series.add(0.3), Exemplar(0.3, 123, 0xABC, 0xDEF))
    exemplars = [
        exemplar
        for point in producing.received()["http.server.request.duration"].histogram.data_points
        for exemplar in point.exemplars
    ]
    assert [(e.as_double, e.trace_id.hex()[-3:], e.span_id.hex()[-3:], e.time_unix_nano) for e in exemplars] == [
        (0.3, "abc", "def", 123)
    ]
    again = producing.received()["http.server.request.duration"].histogram.data_points
    assert [list(point.exemplars) for point in again] == [[], []]
    assert sum(point.count for point in again) == 1


def test_histograms_have_a_scope_of_their_own(producing: Producing) -> None:
    """No two scopes of an export are equal, for the encoder would send the last of them only."""
    data = producing.reader.get_metrics_data()
    assert data is not None
    scopes = [scope.scope.name for resource in data.resource_metrics for scope in resource.scope_metrics]
    assert len(scopes) == len(set(scopes)) == 2
