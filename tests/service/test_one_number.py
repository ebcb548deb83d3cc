"""All ways to count rows, and all ways to export the counts, give the same numbers."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from prometheus_client import parser, utils
from prometheus_client.openmetrics import parser as openmetrics_parser
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import sightline_telemetry.sklearn as drop_ins
from sightline_service.bundles.bundle import Bundle, save_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_telemetry.instruments import INSTRUMENTS
from sightline_telemetry.measurement import Measurement
from tests.service.running import Running, running
from tests.telemetry.sink import Sink

NUMERIC, WORDS = ["age", "income"], ["city", "plan"]
TRUSTED = ("sightline_telemetry.sklearn.OneHotEncoder", "sightline_telemetry.sklearn.SimpleImputer")
parse_classic: Any = parser.text_string_to_metric_families
parse_openmetrics: Any = openmetrics_parser.text_string_to_metric_families
go_string: Any = utils.floatToGoString

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Key = tuple[str, frozenset[tuple[str, str]]]


def rows_of_words(n_rows: int, seed: int, *, is_served: bool = True) -> pd.DataFrame:
    """Returns numbers and words, some missing; if served, some out of range and some unknown to training."""
    random = np.random.default_rng(seed)
    unseen = ["Paris"] if is_served else []
    data = pd.DataFrame(
        {
            "city": random.choice(["Bern", "Oslo", "Rome", *unseen], n_rows),
            "age": random.normal(40, 30 if is_served else 8, n_rows),
            "plan": random.choice(["free", "paid", *unseen], n_rows),
            "income": random.exponential(3000, n_rows),
        }
    )
    data.loc[random.random(n_rows) < 0.1, "age"] = np.nan
    data.loc[random.random(n_rows) < 0.1, "city"] = None
    return data


@dataclass(frozen=True)
class Bundled:
    """Holds a model made of drop-ins, and the folder of its bundle."""

    bundle: Bundle
    folder: Path


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Bundled:
    """Bundles a model that takes missing values and unknown categories in every field."""
    numeric = Pipeline([("impute", drop_ins.SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    words = Pipeline(
        [
            ("impute", drop_ins.SimpleImputer(strategy="most_frequent")),
            ("encode", drop_ins.OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        ]
    )
    prepare = ColumnTransformer([("numeric", numeric, NUMERIC), ("words", words, WORDS)])
    data = rows_of_words(800, 1, is_served=False)
    labels = pd.Series(np.where(data["income"] > 2000, "yes", "no"))
    model = Pipeline([("prepare", prepare), ("classify", LogisticRegression())]).fit(data, labels)
    folder = tmp_path_factory.mktemp("fancy") / "bundle"
    bundle = make_bundle(model, data, labels, name="fancy", version="1")
    save_bundle(bundle, folder)
    return Bundled(bundle, folder)


@pytest.fixture
def service(bundled: Bundled) -> Iterator[Running]:
    """Serves the model over real HTTP, with nothing counted yet."""
    with running(bundled.folder, trusted_types=TRUSTED) as serving:
        yield serving


def instances(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns rows as a request has them."""
    rows = data.astype(object).where(data.notna(), None)
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


COUNTED = (
    *("ml_predictions_total", "ml_prediction_score_bucket", "ml_prediction_confidence_bucket"),
    *("ml_feature_value_bucket", "ml_feature_categories_total", "ml_feature_missing_total"),
    *("ml_feature_imputed_total", "ml_feature_out_of_range_total"),
)
"""The samples that rows are counted in."""


def everything(text: bytes) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Returns all that was counted of the rows of the model, from a scrape in classic text."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {name: {} for name in COUNTED}
    for family in parse_classic(text.decode()):
        for sample in family.samples:
            if sample.name in found and sample.labels["model_name"] == "fancy":
                found[sample.name][frozenset(sample.labels.items())] = sample.value
    return found


def by_feature(samples: dict[frozenset[tuple[str, str]], float]) -> dict[str, float]:
    """Returns the samples of a metric that has one series per feature."""
    return {dict(labels)["feature"]: value for labels, value in samples.items()}


def unseen(text: bytes, feature: str) -> float:
    """Returns the rows with a category of the feature that training did not know."""
    wanted = {("feature", feature), ("category", "__unseen__")}
    (value,) = (n for labels, n in everything(text)["ml_feature_categories_total"].items() if wanted <= labels)
    return value


def test_three_ways_to_count_agree_to_the_unit(bundled: Bundled, service: Running) -> None:
    """10,000 rows give exactly the same counts through the service, the drop-ins and the library."""
    data = rows_of_words(10_000, 2)
    model, profile = bundled.bundle.model, bundled.bundle.profile
    for first in range(0, 10_000, 2500):
        service.predict(instances(data.iloc[first : first + 2500])).raise_for_status()
    by_library, by_drop_ins = Measurement("fancy", "1", profile), Measurement("fancy", "1", profile)
    by_library(data, model.predict(data), model.predict_proba(data))
    assert drop_ins.bind(model, by_drop_ins) == ()
    probabilities = model.predict_proba(data)
    by_drop_ins.outputs(model.classes_[probabilities.argmax(axis=1)], probabilities)
    counts = everything(service.client.get("/metrics").content)
    assert all(counts.values())
    assert counts == everything(by_library.scrape()[0]) == everything(by_drop_ins.scrape()[0])
    assert sum(counts["ml_predictions_total"].values()) == 10_000
    missing = {name: int(data[name].isna().sum()) for name in (*NUMERIC, *WORDS)}
    assert by_feature(counts["ml_feature_missing_total"]) == missing
    for measure in (by_library, by_drop_ins):
        measure.close()


def series(text: bytes) -> set[Key]:
    """Returns the series of a scrape in classic text."""
    families = parse_classic(text.decode())
    return {(s.name, frozenset(s.labels.items())) for family in families for s in family.samples}


@pytest.mark.parametrize(
    ("n_requests", "n_rows"), [(100, 100), pytest.param(10_000, 1, marks=pytest.mark.slow)], ids=["rows", "requests"]
)
def test_strangers_make_no_series(service: Running, n_requests: int, n_rows: int) -> None:
    """After 10,000 rows with random words in every field the series are those of the start."""
    scrape = service.observer.providers.scrape
    scrape.render("")  # the SDK counts its own readings, from the first one on
    before = series(scrape.render("")[0])
    random = np.random.default_rng(3)
    for _ in range(n_requests):
        row = [{"age": 1.0, "income": 1.0, **{name: random.bytes(6).hex() for name in WORDS}} for _ in range(n_rows)]
        service.predict(row).raise_for_status()
    after, _ = scrape.render("")
    assert series(after) == before
    assert unseen(after, "city") == 10_000


def test_strangers_make_no_series_without_the_service(bundled: Bundled) -> None:
    """A frame of 10,000 random words in every column creates no series either."""
    random = np.random.default_rng(4)
    data = pd.DataFrame(
        {"age": 1.0, "income": 1.0, **{name: [random.bytes(6).hex() for _ in range(10_000)] for name in WORDS}}
    )
    with Measurement("fancy", "1", bundled.bundle.profile) as measure:
        measure.scrape()
        before = series(measure.scrape()[0])
        measure(data, ["yes"] * len(data), np.full((len(data), 2), 0.5))
        after, _ = measure.scrape()
        assert series(after) == before
        assert unseen(after, "plan") == 10_000


def test_the_scrape_and_otlp_say_the_same(bundled: Bundled, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """At one moment every series has the same number in OpenMetrics, in classic text and in the OTLP export."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
    with running(bundled.folder, trusted_types=TRUSTED) as service:
        for seed in range(5):
            service.predict(instances(rows_of_words(200, seed))).raise_for_status()
        service.predict([{"age": "old"}])
        service.client.get("/predict/random", params={"error_rate": 1})
        service.client.get("/nowhere")
        scrape, flush = service.observer.providers.scrape, service.observer.providers.flush
        modern, classic = scrape.render(OPENMETRICS)[0], scrape.render("text/plain")[0]
        flush(20)
        (metrics,) = sink.last().values()
        exported = dict(sample for instrument in OURS for sample in samples(metrics[instrument.name]))
        assert len(exported) > 500
        assert told(parse_classic(classic.decode())) == exported
        assert told(parse_openmetrics(modern.decode())) == exported
        for parse, accept in ((parse_classic, "text/plain"), (parse_openmetrics, OPENMETRICS)):
            over_http = told(parse(service.client.get("/metrics", headers={"accept": accept}).text))
            assert of_models(over_http) == of_models(exported)  # of requests, this one is one more
        shown = {
            (str(s.exemplar.labels["trace_id"]), str(s.exemplar.labels["span_id"]), float(s.exemplar.value))
            for family in parse_openmetrics(modern.decode())
            for s in family.samples
            if s.exemplar
        }
        # An export brings what is new since the export before; a scrape shows the newest of each bucket.
        sent = {
            (str(point.attributes), bisect_left(point.explicit_bounds, e.as_double)): (
                e.trace_id.hex(),
                e.span_id.hex(),
                e.as_double,
            )
            for request in sink.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "http.server.request.duration"
            for point in metric.histogram.data_points
            for e in point.exemplars
        }
        assert shown == set(sent.values())
        assert len(shown) >= 3


OURS = [
    i
    for i in INSTRUMENTS
    if i.source != "process"
    and i.where not in ("regressors", "models profiled in the order of time")
    and i.where not in ("services with an observer process", "services with keys")
]
PROMETHEUS = {instrument.name: instrument.prometheus_name for instrument in INSTRUMENTS}


def told(families: Any) -> dict[Key, float]:
    """Returns the samples of our instruments by name and labels, without empty labels, which Prometheus drops."""
    ours = tuple(instrument.prometheus_name for instrument in OURS)
    return {
        (s.name, frozenset((key, value) for key, value in s.labels.items() if value)): s.value
        for family in families
        for s in family.samples
        if s.name.startswith(ours) and not s.name.endswith("_created")
    }


def of_models(samples: dict[Key, float]) -> dict[Key, float]:
    """Returns the samples about models."""
    return {key: value for key, value in samples.items() if key[0].startswith("ml_")}


def samples(metric: Metric) -> Iterator[tuple[Key, float]]:
    """Yields the numbers of an OTLP metric under their names in Prometheus."""
    name = PROMETHEUS[metric.name]
    for number in (*metric.sum.data_points, *metric.gauge.data_points):
        yield (name, labels(number)), number.as_double if number.HasField("as_double") else number.as_int
    for point in metric.histogram.data_points:
        total = 0
        for bound, count in zip([*point.explicit_bounds, np.inf], point.bucket_counts, strict=True):
            total += count
            yield (f"{name}_bucket", labels(point) | {("le", go_string(bound))}), total
        if not point.explicit_bounds or point.explicit_bounds[0] >= 0:  # a sum that may fall is not for a scrape
            yield (f"{name}_sum", labels(point)), point.sum
            yield (f"{name}_count", labels(point)), point.count


def labels(point: NumberDataPoint | HistogramDataPoint) -> frozenset[tuple[str, str]]:
    """Returns the attributes of a point as labels."""
    return frozenset(
        (a.key.replace(".", "_"), str(a.value.int_value) if a.value.HasField("int_value") else a.value.string_value)
        for a in point.attributes
    )
