"""What leaves the process, seen at the receiving end: every instrument, at 0 from the start, exemplars included."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.fold import fold
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.http_codes import METHOD_CODES
from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.reading import Reading
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import ACTIVE_REQUESTS, INSTRUMENTS, PREDICTIONS, REQUEST_DURATION, Instrument
from sightline_telemetry.model.histogram import Exemplar, Snapshot
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Quality
from sightline_telemetry.model.rows import Rows
from sightline_telemetry.requests.recording import N_SCHEMES, EventList
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.testing import MetricsInMemory
from tests.telemetry.rows import random_rows
from tests.telemetry.serving import ENDED, describe, lasting, predicted, written

KIND = RequestKind("POST", "/predict/model", 200)


def posted(duration_s: float) -> RequestEvent:
    """A request of KIND."""
    return lasting(duration_s, ENDED._replace(method=METHOD_CODES["POST"], route=1))


class Producing:
    """A producer behind a real meter provider, read in memory."""

    def __init__(self, model: DescribedModel) -> None:
        self.table = SeriesTable(describe(model))
        self.events = EventList()
        self.counts = Counts.zero(self.table)
        self.labels: Quality | None = None
        self.exemplars: dict[RequestKind, tuple[Exemplar, ...]] = {}
        self.producer = Producer(self.table, self.read, Faults(self.events.write_aside))
        self.reader = MetricsInMemory(self.producer)
        self._meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.producer.register(self._meters.get_meter("sightline"))

    def read(self) -> Reading:
        """Counts the events that wait, and returns the state."""
        self.counts += fold(self.events.read(), self.table)
        queued = {model.id: 5 for model in self.table.description.models}
        return Reading(self.counts, self.events.active, queued, self.labels, self.exemplars, {"SIGKILL": 0})

    def received(self) -> dict[str, Any]:
        """Metrics by name, as the OTLP encoder would send them; those of the SDK about itself are not ours."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = encode_metrics(data).resource_metrics
        metrics = (metric for scope in resource.scope_metrics for metric in scope.metrics)
        return {metric.name: metric for metric in metrics if not metric.name.startswith("otel.")}


@pytest.fixture
def producing(model: DescribedModel) -> Producing:
    """Nothing counted yet."""
    return Producing(model)


MADE = [each for each in INSTRUMENTS if each.source not in ("process", "labels") and each.where != "services with keys"]
OF_CLASSIFIERS = [each for each in MADE if each.where != "regressors"]
OF_REGRESSORS = [each for each in MADE if not each.where.startswith("classifiers with") or "regressors" in each.where]


@pytest.mark.parametrize("instrument", OF_CLASSIFIERS, ids=lambda instrument: instrument.name)
def test_every_instrument_leaves_from_the_start(producing: Producing, instrument: Instrument) -> None:
    """Each instrument of the list is encoded before the first request, with its unit, kind and attributes."""
    check_leaves(producing, instrument)


@pytest.mark.parametrize("instrument", OF_REGRESSORS, ids=lambda instrument: instrument.name)
def test_every_instrument_of_a_regressor_leaves_from_the_start(
    regression_model: DescribedModel, instrument: Instrument
) -> None:
    """A regressor has the same instruments bar those of probabilities, and the values of its labels besides."""
    producing = Producing(regression_model)
    check_leaves(producing, instrument)
    assert set(producing.received()) == {each.name for each in OF_REGRESSORS}


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


def test_counts_leave_as_they_are(producing: Producing, model: DescribedModel) -> None:
    """What was counted is what leaves, by outcome and feature."""
    rows, data = random_rows(1000)
    producing.events.write(predicted(model, rows))
    late = int((data["yes"] > 0.5).sum())
    points = producing.reader.points(PREDICTIONS.name)
    assert {attributes["outcome"]: value for attributes, value in points} == {"no": 1000 - late, "yes": late}
    imputed = {attributes["feature"]: value for attributes, value in producing.reader.points("ml.feature.imputed")}
    assert imputed == {"age": int(data["age"].isna().sum()), "city": int((data["city"] == "__missing__").sum())}


def test_a_model_without_probabilities_has_no_scores(silent_model: DescribedModel) -> None:
    """A classifier without probabilities exports its predictions but no scores."""
    rows, _ = random_rows(100)
    producing = Producing(silent_model)
    producing.events.write(predicted(silent_model, Rows(rows.numeric, rows.codes, rows.outcomes, None)))
    received = producing.received()
    assert {"ml.prediction.score", "ml.prediction.confidence", "ml.reference.prediction.score"}.isdisjoint(received)
    assert sum(point.as_int for point in received["ml.predictions"].sum.data_points) == 100


def test_a_regression_counts_rows_and_values(regression_model: DescribedModel) -> None:
    """Rows of a regression are one series without an outcome; their values are the score, negative ones too."""
    rows, _ = random_rows(1000)
    values = np.random.default_rng(1).normal(0, 100, 1000)
    producing = Producing(regression_model)
    producing.events.write(predicted(regression_model, Rows(rows.numeric, rows.codes, None, None, values)))
    model = {"model.name": "m", "model.version": "1"}
    assert producing.reader.points("ml.predictions") == [(model, 1000)]
    assert producing.reader.points("ml.reference.predictions") == [(model, 1000)]
    ((attributes, score),) = producing.reader.points("ml.prediction.score")
    reference = regression_model.profile.predicted_values
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


class BrokenLabels(Quality):
    """Totals of which some cannot be shown."""

    def counts(self, instrument: Instrument) -> Iterator[tuple[dict[str, str], int]]:
        """Raises for one instrument."""
        if instrument.name == "ml.feedback":
            raise ValueError("no totals")
        yield from super().counts(instrument)

    def snapshots(self, instrument: Instrument) -> Iterator[tuple[dict[str, str], Snapshot]]:
        """Raises for one histogram."""
        if instrument.name == "ml.feedback.delay":
            raise ValueError("no totals")
        yield from super().snapshots(instrument)


def test_what_cannot_be_read_stops_no_export(producing: Producing, caplog: pytest.LogCaptureFixture) -> None:
    """Totals that cannot be shown cost their instruments their series in one export, and are faults that count."""
    judged = (JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True),)
    producing.labels = Quality("l", judged, {})
    before = producing.received()
    producing.labels = BrokenLabels("l", judged, {})
    after = producing.received()
    assert set(before) - set(after) == {"ml.feedback", "ml.feedback.delay"}
    producing.labels = Quality("l", judged, {})
    assert ({"place": "reading"}, 2) in producing.reader.points("sightline.faults")
    assert set(producing.received()) == set(before)
    assert "telemetry fault in reading" in caplog.text


def test_an_exemplar_leaves_once_with_its_ids(producing: Producing) -> None:
    """An exemplar is exported in its interval, in its bucket, with trace and span id; then no more."""
    producing.events.write(written(posted(0.3)))
    producing.exemplars = {KIND: (Exemplar(0.3, 123, 0xABC, 0xDEF),)}
    assert exported(producing) == [(0.3, "abc", "def", 123)]
    again = producing.received()["http.server.request.duration"].histogram.data_points
    assert not any(list(point.exemplars) for point in again)
    assert sum(point.count for point in again) == 1


def exported(producing: Producing) -> list[tuple[float, str, str, int]]:
    """The exemplars of one export."""
    return [
        (each.as_double, each.trace_id.hex()[-3:], each.span_id.hex()[-3:], each.time_unix_nano)
        for point in producing.received()["http.server.request.duration"].histogram.data_points
        for each in point.exemplars
    ]


def test_an_exemplar_that_is_read_late_leaves_all_the_same(producing: Producing) -> None:
    """A request that ended before the last export, and was read after it, has its exemplar in the next."""
    producing.events.write(written(posted(0.3)))
    producing.exemplars = {KIND: (Exemplar(0.3, 456, 0xABC, 0xDEF),)}
    assert exported(producing) == [(0.3, "abc", "def", 456)]
    producing.events.write(written(posted(0.01)))
    producing.exemplars = {KIND: (Exemplar(0.3, 456, 0xABC, 0xDEF), Exemplar(0.01, 123, 0x123, 0x456))}
    assert exported(producing) == [(0.01, "123", "456", 123)]


def test_running_requests_are_shown_by_method(producing: Producing) -> None:
    """Methods that are expected have a series, others share one; what runs makes none."""

    def running() -> dict[tuple[object, object], object]:
        points = producing.reader.points(ACTIVE_REQUESTS.name)
        return {(each["http.request.method"], each["url.scheme"]): value for each, value in points}

    assert running() == {("POST", "http"): 0, ("GET", "http"): 0, ("_OTHER", "http"): 0}
    producing.events.active[METHOD_CODES["PUT"] * N_SCHEMES + 1] = 3
    producing.events.active[METHOD_CODES["POST"] * N_SCHEMES + 1] = 1
    producing.events.active[METHOD_CODES["POST"] * N_SCHEMES] = 1
    assert running() == {("POST", "http"): 2, ("GET", "http"): 0, ("_OTHER", "http"): 3}


def test_one_export_shows_one_moment(producing: Producing) -> None:
    """Requests that end while an export is read are in the next one, in all of its instruments."""
    reads = []
    read = producing.read

    def read_and_go_on() -> Reading:
        reading = read()
        reads.append(reading)
        producing.events.write(written(posted(0.3)))
        return reading

    producing.producer._read = read_and_go_on  # noqa: SLF001  # a request between the instruments of one export
    for n in range(3):
        received = producing.received()
        points = received[REQUEST_DURATION.name].histogram.data_points
        assert (len(reads), sum(point.count for point in points)) == (n + 1, n)


def test_histograms_have_a_scope_of_their_own(producing: Producing) -> None:
    """No two scopes of an export are equal, for the encoder would send the last of them only."""
    data = producing.reader.get_metrics_data()
    assert data is not None
    scopes = [scope.scope.name for resource in data.resource_metrics for scope in resource.scope_metrics]
    assert len(scopes) == len(set(scopes)) == 2
