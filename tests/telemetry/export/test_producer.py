"""What leaves the process, seen at the receiving end: every instrument, at 0 from the start, exemplars included."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from sightline_telemetry.export.producer import Producer
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import INSTRUMENTS, PREDICTIONS, Instrument
from sightline_telemetry.model.counts import Exemplar
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.recorder import Recorder, Rows
from sightline_telemetry.requests.golden_signals import GoldenSignals, RequestKind
from sightline_telemetry.requests.tail_sampling import TailSampler
from sightline_telemetry.testing import MetricsInMemory
from tests.telemetry.model.test_recorder import random_rows


class Producing:
    """A producer behind a real meter provider, read in memory."""

    def __init__(self, recorder: Recorder) -> None:
        self.signals = GoldenSignals()
        self.signals.expect("POST", "/predict/model", [200, 500])
        self.producer = Producer(self.signals, [recorder], TailSampler(), Faults("middleware"))
        self.producer.add_queue(recorder.model, lambda: 5)
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


MADE = [each for each in INSTRUMENTS if each.source not in ("process", "labels")]
OF_CLASSIFIERS = [each for each in MADE if each.where != "regressors"]
OF_REGRESSORS = [each for each in MADE if not each.where.startswith("classifiers with") or "regressors" in each.where]


@pytest.mark.parametrize("instrument", OF_CLASSIFIERS, ids=lambda instrument: instrument.name)
def test_every_instrument_leaves_from_the_start(producing: Producing, instrument: Instrument) -> None:
    """Each instrument of the list is encoded before the first request, with its unit, kind and attributes."""
    check_leaves(producing, instrument)


@pytest.mark.parametrize("instrument", OF_REGRESSORS, ids=lambda instrument: instrument.name)
def test_every_instrument_of_a_regressor_leaves_from_the_start(
    regression_recorder: Recorder, instrument: Instrument
) -> None:
    """A regressor has the same instruments bar those of probabilities, and the values of its labels besides."""
    producing = Producing(regression_recorder)
    check_leaves(producing, instrument)
    ours = {name for name in producing.received() if not name.startswith("otel.")}  # the SDK may count itself
    assert ours == {each.name for each in OF_REGRESSORS}


def check_leaves(producing: Producing, instrument: Instrument) -> None:
    """One instrument as it is received: unit, kind, attributes, and 0 unless it is a constant of training."""
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
    if instrument.source != "training":
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


def test_a_model_without_probabilities_has_no_scores(silent_profile: ReferenceProfile) -> None:
    """A classifier without probabilities exports its predictions but no scores."""
    recorder = Recorder(ModelId("m", "1"), silent_profile, ("classify",))
    rows, _ = random_rows(100)
    recorder.record(Rows(rows.numeric, rows.codes, rows.outcomes, None))
    received = Producing(recorder).received()
    assert {"ml.prediction.score", "ml.prediction.confidence", "ml.reference.prediction.score"}.isdisjoint(received)
    assert sum(point.as_int for point in received["ml.predictions"].sum.data_points) == 100


def test_a_regression_counts_rows_and_values(regression_recorder: Recorder) -> None:
    """Rows of a regression are one series without an outcome; their values are the score, negative ones too."""
    rows, _ = random_rows(1000)
    values = np.random.default_rng(1).normal(0, 100, 1000)
    regression_recorder.record(Rows(rows.numeric, rows.codes, None, None, values))
    producing = Producing(regression_recorder)
    model = {"model.name": "m", "model.version": "1"}
    assert producing.reader.points("ml.predictions") == [(model, 1000)]
    assert producing.reader.points("ml.reference.predictions") == [(model, 1000)]
    ((attributes, score),) = producing.reader.points("ml.prediction.score")
    reference = regression_recorder.profile.predicted_values
    assert isinstance(score, HistogramDataPoint)
    assert reference is not None
    assert (attributes, score.explicit_bounds) == (model, reference.bounds)
    edges = [-np.inf, *reference.bounds, np.inf]
    assert list(score.bucket_counts) == pd.cut(values, edges).value_counts().tolist()
    assert score.sum == pytest.approx(values.sum())


def test_what_training_looked_like_leaves(producing: Producing) -> None:
    """Drift floors carry their statistic and window, singletons their feature."""
    model = {"model.name": "m", "model.version": "1"}
    floors = producing.reader.points("ml.reference.drift.floor")
    assert floors == [
        ({**model, "feature": "age", "statistic": "ks", "window": "86400s"}, 0.05),
        ({**model, "feature": "age", "statistic": "psi", "window": "86400s"}, 0.02),
    ]
    assert producing.reader.points("ml.reference.feature.singletons") == [({**model, "feature": "city"}, 0)]


def test_what_cannot_be_read_stops_no_export(profile: ReferenceProfile, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that cannot be counted cost one instrument its series in one export, and are a fault that is counted."""

    def broken(_: object) -> Rows:
        raise ValueError("no rows")

    recorder = Recorder(ModelId("m", "1"), profile, ("classify",), join=broken)
    producing = Producing(recorder)
    before = producing.received()
    recorder.record(random_rows(10)[0])
    after = producing.received()
    assert set(before) - set(after) == {"ml.predictions"}
    assert producing.reader.points("sightline.faults")[1] == ({"place": "reading"}, 1)
    assert set(producing.received()) >= set(before)
    assert "telemetry fault in reading" in caplog.text


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
