"""Tests predictions measured without the service: OTLP and scrapes export the same counts, and faults do no harm."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.fold import fold
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.instruments import (
    BATCH_SIZE,
    FEATURE_IMPUTED,
    FEATURE_VALUE,
    PREDICTION_SCORE,
    PREDICTIONS,
)
from sightline_telemetry.measurement import CHUNK_ROWS, Measurement
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.profile_file import load_profile, save_profile
from tests.telemetry.counted import Counted, counted_by
from tests.telemetry.rows import random_rows
from tests.telemetry.serving import predicted
from tests.telemetry.sink import Sink

ROOT = Path(__file__).parents[2]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

pytestmark = pytest.mark.usefixtures("no_otel_variables")

# Measures 10 rows, forks a child that measures 5, and neither closes anything.
_APP = """
import os, sys
from pathlib import Path
import pandas as pd
from sightline_telemetry import Measurement, load_profile

measure = Measurement("m", "1", load_profile(Path(sys.argv[1])))
data = pd.DataFrame({"age": range(10), "gain": 0.0, "city": "Bern"})
measure.start(wait_s=5)
measure(data, ["yes"] * 10)
child = os.fork()
if not child:
    measure(data[:5], ["no"] * 5)
    sys.exit()
os.waitpid(child, 0)
"""


def frame(n_rows: int) -> tuple[pd.DataFrame, list[str], "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]:
    """Data, outcomes and probabilities of random rows."""
    _, data = random_rows(n_rows)
    data["city"] = data["city"].where(~data["city"].str.startswith("__missing"), None)
    outcomes = ["yes" if score > 0.5 else "no" for score in data["yes"]]
    return data.drop(columns="yes"), outcomes, np.column_stack([1 - data["yes"], data["yes"]])


@pytest.mark.parametrize("n_rows", [1, CHUNK_ROWS, CHUNK_ROWS + 1])
def test_it_counts_what_an_event_of_the_same_rows_counts(
    profile: ReferenceProfile, model: DescribedModel, table: SeriesTable, n_rows: int
) -> None:
    """A frame of any length is counted as the event of a request with the same rows, chunks or not."""
    rows, _ = random_rows(n_rows)
    expected = Counted(table, fold([predicted(model, rows)], table))
    with Measurement("m", "1", profile) as measure:
        measure(*frame(n_rows))
    found = counted_by(measure)
    assert found.numbers(PREDICTIONS) == expected.numbers(PREDICTIONS)
    assert found.categories() == expected.categories()
    assert found.numbers(FEATURE_IMPUTED) == expected.numbers(FEATURE_IMPUTED)
    assert found.out_of_range() == expected.out_of_range()
    values = [[each.counts for each in one.histograms(FEATURE_VALUE).values()] for one in (found, expected)]
    assert values[0] == values[1]
    assert found.histograms(PREDICTION_SCORE)["yes"].counts == expected.histograms(PREDICTION_SCORE)["yes"].counts
    assert found.histograms(BATCH_SIZE)[()].sum == n_rows


def test_zeros_leave_first_and_the_rest_at_the_end(
    profile: ReferenceProfile, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch job's series are exported at 0 before it begins, so that what it counts is an increase."""
    monkeypatch.setenv(ENDPOINT, sink.url)
    with Measurement("m", "1", profile) as measure:
        assert len(sink.metrics) == 1
        measure(*frame(1000))
    (metrics,) = sink.last().values()
    assert sum(point.as_int for point in metrics["ml.predictions"].sum.data_points) == 1000
    first = {m.name: m for s in sink.metrics[0].resource_metrics[0].scope_metrics for m in s.metrics}
    assert [point.as_int for point in first["ml.predictions"].sum.data_points] == [0, 0]
    assert {point.count for point in first["ml.feature.value"].histogram.data_points} == {0}


def test_an_app_and_its_forked_child_count_each_for_itself(
    profile: ReferenceProfile, sink: Sink, tmp_path: Path
) -> None:
    """What a process has measured leaves at its exit; a forked child counts from 0 under an id of its own."""
    save_profile(profile, tmp_path / "profile.json")
    assert load_profile(tmp_path / "profile.json") == profile
    environment = {**os.environ, ENDPOINT: sink.url, "PYTHONPATH": str(ROOT), "OTEL_SERVICE_NAME": "nightly"}
    done = subprocess.run(
        [sys.executable, "-c", _APP, str(tmp_path / "profile.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    counts = [
        {point.attributes[-1].value.string_value: point.as_int for point in metrics["ml.predictions"].sum.data_points}
        for metrics in sink.last().values()
    ]
    assert sorted(counts, key=str) == [{"no": 0, "yes": 10}, {"no": 5, "yes": 0}]
    names = {a.value.string_value for r in sink.metrics[-1].resource_metrics for a in r.resource.attributes}
    assert "nightly" in names


def test_without_an_endpoint_there_is_the_scrape(profile: ReferenceProfile) -> None:
    """Nothing is exported; the scrape contains the counts, in the requested format."""
    with Measurement("m", "1", profile) as measure:
        measure(*frame(100))
        text, content_type = measure.scrape()
        assert content_type.startswith("text/plain")
        assert b'ml_feature_missing_total{feature="gain",model_name="m",model_version="1"} 0.0\n' in text
        assert measure.scrape("application/openmetrics-text")[0].endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "An application of your own"), ("telemetry/README.md", "")]
)
def test_the_lines_in_the_readme_run(page: str, heading: str) -> None:
    """The lines that a README shows, ten at most, profile a model and count every row that it predicts."""
    text = (ROOT / page).read_text()
    lines = text[text.index(heading) :].partition("```python\n")[2].partition("```")[0]
    assert len([line for line in lines.splitlines() if line.strip()]) <= 10
    data, outcomes, probabilities = frame(500)
    model = SimpleNamespace(predict=lambda _: outcomes, predict_proba=lambda _: probabilities)
    data["city"] = data["city"].where(data["city"] != "__unseen__", "Oslo")  # a word that no training data may hold
    names: dict[str, Any] = {"X": data, "y": outcomes, "rows": data, "model": model}
    exec(lines, names)  # noqa: S102  # the README's own
    assert counted_by(names["measure"]).rows() == 500


def test_it_leaves_the_process_as_it_was(
    profile: ReferenceProfile, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest in another application's process sets no variable, and no global provider."""
    from opentelemetry import metrics, trace

    monkeypatch.setenv(ENDPOINT, sink.url)
    before = dict(os.environ), metrics.get_meter_provider(), trace.get_tracer_provider()
    with Measurement("m", "1", profile):
        assert (dict(os.environ), metrics.get_meter_provider(), trace.get_tracer_provider()) == before


@pytest.mark.slow
@pytest.mark.usefixtures("exporters_end")
def test_a_dead_endpoint_delays_no_prediction(profile: ReferenceProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first prediction, which starts everything, is measured at once though the endpoint hangs."""
    with socket.socket() as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        endpoint.listen(16)
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{endpoint.getsockname()[1]}")
        measure = Measurement("m", "1", profile)
        rows = frame(10)
        start = monotonic()
        measure(*rows)
        assert monotonic() - start < 1
        assert counted_by(measure).rows() == 10
        start = monotonic()
        measure.close()
        assert monotonic() - start < 5


def test_a_fault_of_the_measuring_is_counted_and_not_raised(
    profile: ReferenceProfile, caplog: pytest.LogCaptureFixture
) -> None:
    """A frame without one of its features is the measuring's fault, not the app's: logged once, and counted."""
    data, outcomes, probabilities = frame(10)
    with Measurement("m", "1", profile) as measure:
        for _ in range(3):
            measure(data.drop(columns="city"), outcomes, probabilities)
        assert counted_by(measure).rows() == 0
        assert b'sightline_faults_total{place="measurement"} 3.0' in measure.scrape()[0]
    assert len([record for record in caplog.records if record.name == "sightline_telemetry.faults"]) == 1


def test_a_number_that_cannot_be_used_is_reported(
    profile: ReferenceProfile, sink: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An interval that is no number stops no measurement: it is named in the log, and counts leave at the end."""
    monkeypatch.setenv(ENDPOINT, sink.url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "soon")
    with Measurement("m", "1", profile) as measure:
        measure(*frame(10))
    assert [record.getMessage() for record in caplog.records if "soon" in record.getMessage()] == [
        "OTEL_METRIC_EXPORT_INTERVAL=soon is no number that it can be: its default is used"
    ]
    assert sink.metrics
