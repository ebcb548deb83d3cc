"""The scrape: OpenMetrics with exemplars that resolve, classic text with the same numbers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import sleep
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.export.scrape import Scrape
from sightline_telemetry.model.histogram import Exemplar
from tests.telemetry.export.test_producer import KIND, OF_CLASSIFIERS, Producing, posted
from tests.telemetry.rows import random_rows
from tests.telemetry.serving import predicted, written

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scraped:
    """A scrape of a service with one model; traces with an even id resolve."""

    def __init__(self, model: DescribedModel) -> None:
        self.producing = Producing(model)
        self.scrape = Scrape(self.producing.producer, lambda trace_id: trace_id % 2 == 0)
        self.meters = MeterProvider([self.scrape.reader], shutdown_on_exit=False)
        self.producing.producer.register(self.meters.get_meter("sightline"))

    def families(self, accept: str = OPENMETRICS) -> list[Metric]:
        """Returns the parsed metrics of a scrape."""
        body, content_type = self.scrape.render(accept)
        assert content_type.startswith(accept.partition(";")[0] or "text/plain")
        parse: Any = parse_openmetrics if "openmetrics" in content_type else parse_classic
        return list(parse(body.decode()))

    def samples(self, accept: str = OPENMETRICS) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Returns the samples by name and labels; asserts that each occurs once."""
        samples = [sample for family in self.families(accept) for sample in family.samples]
        by_name = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
        assert len(by_name) == len(samples)
        return by_name


@pytest.fixture
def scraped(model: DescribedModel) -> Scraped:
    """1,000 rows and one request counted."""
    made = Scraped(model)
    made.producing.events.write(predicted(model, random_rows(1000)[0]))
    made.producing.events.write(written(posted(0.3)))
    return made


def test_every_instrument_is_there_under_its_name(scraped: Scraped) -> None:
    """Each instrument of the list is scraped under the name that instruments.py lists."""
    names = {family.name for family in scraped.families()}
    assert {i.prometheus_name.removesuffix("_total") for i in OF_CLASSIFIERS} <= names


def test_both_formats_say_the_same(scraped: Scraped) -> None:
    """Classic text and OpenMetrics hold the same samples with the same values."""

    def ours(accept: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        samples = scraped.samples(accept)
        return {key: v for key, v in samples.items() if key[0].startswith(("ml_", "http_", "sightline_"))}

    assert ours("text/plain") == ours(OPENMETRICS)
    assert ours("")["ml_feature_value_bucket", bucket("age", "+Inf")] > 700


def bucket(feature: str, le: str) -> frozenset[tuple[str, str]]:
    """Labels of a bucket."""
    labels = {"feature": feature, "le": le, "model_name": "m", "model_version": "1"}
    return frozenset(labels.items())


def test_scraping_again_repeats_nothing(scraped: Scraped) -> None:
    """A second scrape shows every sample once, also after a forced flush of the provider."""
    first = scraped.samples()
    scraped.meters.force_flush()
    second = scraped.samples()
    key = ("ml_predictions_total", frozenset({"model_name": "m", "model_version": "1", "outcome": "yes"}.items()))
    assert first[key] == second[key] > 0


def test_one_scrape_waits_for_another(scraped: Scraped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two scrapes never read at the same time: the SDK's reader would give both their samples to one of them."""
    reading: list[int] = []
    most = []

    def encode(registry: CollectorRegistry) -> bytes:
        reading.append(1)
        most.append(len(reading))
        sleep(0.01)
        text = generate_latest(registry)
        reading.pop()
        return text

    monkeypatch.setattr("sightline_telemetry.export.scrape.choose_encoder", lambda _: (encode, "text/plain"))
    with ThreadPoolExecutor(4) as scrapers:
        seen = list(scrapers.map(lambda _: scraped.samples("text/plain"), range(8)))
    assert (len(seen), max(most)) == (8, 1)


def test_only_exemplars_that_resolve_are_shown(scraped: Scraped) -> None:
    """The exemplar of a trace that can be read is in its bucket, with its ids; that of a lost trace is left out."""
    for duration_s in (0.02, 3.0):
        scraped.producing.events.write(written(posted(duration_s)))
    read, lost = Exemplar(0.02, 5_000_000_000, 0xAA, 0xBB), Exemplar(3.0, 5_000_000_000, 0xAB, 0xBB)
    scraped.producing.exemplars = {KIND: (read, lost)}
    shown = [
        (sample.labels["le"], sample.exemplar.labels, sample.exemplar.value, float(str(sample.exemplar.timestamp)))
        for family in scraped.families()
        for sample in family.samples
        if sample.exemplar
    ]
    assert shown == [("0.025", {"trace_id": f"{0xAA:032x}", "span_id": f"{0xBB:016x}"}, 0.02, 5.0)]


def test_each_scrape_shows_the_latest_exemplars(scraped: Scraped) -> None:
    """An exemplar is shown by each scrape, not by one alone; classic text has none."""
    scraped.producing.exemplars = {KIND: (Exemplar(0.3, 1, 2, 3),)}
    for _ in range(2):
        assert any(sample.exemplar for family in scraped.families() for sample in family.samples)
    assert not any(sample.exemplar for family in scraped.families("text/plain") for sample in family.samples)


def test_a_histogram_of_negative_values_has_no_sum(scraped: Scraped) -> None:
    """OpenMetrics allows no `_sum` where values may be negative, since it could fall; buckets are all there."""
    samples = scraped.samples()
    assert samples["ml_feature_value_bucket", bucket("gain", "+Inf")] == 1000
    labels = frozenset({"feature": "gain", "model_name": "m", "model_version": "1"}.items())
    assert ("ml_feature_value_sum", labels) not in samples


def test_a_sum_below_zero_is_left_out(model: DescribedModel, scraped: Scraped) -> None:
    """What training knew as positive may come negative: the scrape can still be read, and nothing else is missing."""
    rows = random_rows(1000)[0]
    age = [feature.name for feature in model.profile.numeric].index("age")
    numeric = rows.numeric.copy()
    numeric[age] = -1e21
    before = scraped.samples()
    scraped.producing.events.write(predicted(model, replace(rows, numeric=numeric)))
    lost = {(f"ml_feature_value_{part}", bucket("age", "") - {("le", "")}) for part in ("sum", "count")}
    assert before.keys() - scraped.samples().keys() == lost
    assert scraped.samples()["ml_feature_value_bucket", bucket("age", "+Inf")] > 1700


@pytest.mark.parametrize("escaping", ["dots", "values", "allow-utf-8", "underscores"])
def test_no_way_to_escape_changes_a_name(scraped: Scraped, escaping: str) -> None:
    """Names are valid unescaped, so whatever escaping a client requests, the content type answers `underscores`."""
    scraped.samples()  # the SDK counts its own readings, from the first one on
    before = scraped.samples().keys()
    assert scraped.samples(f"{OPENMETRICS}; escaping={escaping}").keys() == before
    _, content_type = scraped.scrape.render(f"{OPENMETRICS}; escaping={escaping}")
    named = content_type.rpartition("escaping=")[2] if "escaping=" in content_type else "underscores"  # the default
    assert named == "underscores"
