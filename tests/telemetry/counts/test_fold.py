"""What events mean in counts, against independent counts by pandas, numpy and scikit-learn."""

import struct
from collections import Counter
from dataclasses import replace
from math import fsum

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from sklearn.impute import MissingIndicator
from sklearn.metrics import confusion_matrix

from sightline_telemetry import instruments
from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.fold import Block, fold
from sightline_telemetry.counts.series import MAX_KINDS, SeriesTable
from sightline_telemetry.events.http_codes import HTTP_VERSIONS
from sightline_telemetry.events.layout import (
    COUNTS,
    FAULT,
    IS_OWN_BATCH,
    LOG,
    NO_ROUTE,
    REQUEST,
    RequestEvent,
    Texts,
    batch_event,
    body_event,
)
from sightline_telemetry.instruments import MISSING
from sightline_telemetry.model.histogram import SUMMABLE
from sightline_telemetry.model.profile import ReferenceProfile, profile_categorical, profile_numeric
from sightline_telemetry.model.rows import Rows
from sightline_telemetry.requests.request_kind import OTHER, OTHER_FAILED, RequestKind
from tests.telemetry.counted import Counted, assert_alike
from tests.telemetry.counts.random_events import REQUESTS, some_events
from tests.telemetry.rows import CITIES, encoded, one_row, random_rows
from tests.telemetry.serving import ENDED, describe, lasting, predicted, written


def folded(table: SeriesTable, *events: bytes) -> Counted:
    """What the events add."""
    return Counted(table, fold(events, table))


@pytest.mark.parametrize("n_rows", [1, 255, 256, 10_000])
def test_counts_equal_pandas(table: SeriesTable, model: DescribedModel, n_rows: int) -> None:
    """Predictions, categories, missing and imputed values, and every bin equal what pandas counts."""
    rows, data = random_rows(n_rows)
    counted = folded(table, predicted(model, rows))
    late = int((data["yes"] > 0.5).sum())
    assert counted.numbers(instruments.PREDICTIONS) == {"no": n_rows - late, "yes": late}
    assert [feature.categories for feature in model.profile.categorical] == [("Bern", "Oslo", "Rome")]
    categories = {("city", city): int((data["city"] == city).sum()) for city in CITIES}
    assert counted.numbers(instruments.FEATURE_CATEGORIES) == categories
    assert counted.numbers(instruments.FEATURE_MISSING) == {
        "age": int(data["age"].isna().sum()),
        "gain": 0,
        "city": int((data["city"] == MISSING).sum()),
    }
    values = counted.histograms(instruments.FEATURE_VALUE)
    for feature in model.profile.numeric:
        edges = [-np.inf, *feature.bounds, np.inf]
        expected = pd.cut(data[feature.name], edges).value_counts(sort=False).tolist()
        assert values[feature.name].counts == expected
        assert values[feature.name].sum == pytest.approx(data[feature.name].sum())
    score = counted.histograms(instruments.PREDICTION_SCORE)["yes"]
    assert score.count == n_rows
    assert score.sum == pytest.approx(data["yes"].sum())
    confidence = counted.histograms(instruments.PREDICTION_CONFIDENCE)[()]
    assert confidence.count == n_rows
    assert confidence.sum == pytest.approx(np.maximum(data["yes"], 1 - data["yes"]).sum())
    outside = counted.numbers(instruments.FEATURE_OUT_OF_RANGE)
    for feature in model.profile.numeric:
        assert outside[feature.name, "low"] == int((data[feature.name] < feature.minimum).sum())
        assert outside[feature.name, "high"] == int((data[feature.name] > feature.maximum).sum())
    assert counted.numbers(instruments.FEATURE_IMPUTED) == {
        ("age", "median"): int(data["age"].isna().sum()),
        ("city", "most_frequent"): int((data["city"] == MISSING).sum()),
    }


def wild_rows(n_rows: int, seed: int) -> Rows:
    """Rows with NaN, infinities and enormous numbers among inputs and probabilities."""
    random = np.random.default_rng(seed)
    rows, _ = random_rows(n_rows, seed)
    assert rows.probabilities is not None
    odd = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, SUMMABLE, 0.0])
    numeric, probabilities = rows.numeric.copy(), rows.probabilities.copy()
    for values in (numeric, probabilities):
        is_odd = random.random(values.shape) < 0.3
        values[is_odd] = random.choice(odd, int(is_odd.sum()))
    return replace(rows, numeric=numeric, probabilities=probabilities)


def hand_counted(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", bounds: tuple[float, ...]) -> list[int]:
    """Buckets (a, b] of the values that are not NaN."""
    indices = np.digitize(values[~np.isnan(values)], bounds, right=True)
    found = dict(zip(*np.unique(indices, return_counts=True), strict=True))
    return [int(found.get(index, 0)) for index in range(len(bounds) + 1)]


def hand_summed(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """The exact sum of the values that can be summed."""
    return fsum(value for value in values.tolist() if abs(value) < SUMMABLE)


@pytest.mark.parametrize("seed", range(5))
def test_odd_numbers_are_counted_as_by_hand(table: SeriesTable, model: DescribedModel, seed: int) -> None:
    """With NaN, infinities and 1e300 among the values, numpy and scikit-learn count the same by hand."""
    rows = wild_rows(2000, seed)
    assert rows.outcomes is not None
    assert rows.probabilities is not None
    counted = folded(table, predicted(model, rows))
    values, missing = counted.histograms(instruments.FEATURE_VALUE), counted.numbers(instruments.FEATURE_MISSING)
    outside = counted.numbers(instruments.FEATURE_OUT_OF_RANGE)
    indicator = MissingIndicator(features="all").fit_transform(np.where(np.isinf(rows.numeric), 0, rows.numeric).T)
    for index, feature in enumerate(model.profile.numeric):
        column = rows.numeric[index]
        assert values[feature.name].counts == hand_counted(column, feature.bounds)
        assert values[feature.name].sum == pytest.approx(hand_summed(column), rel=1e-9, abs=1e-6)
        assert missing[feature.name] == int(indicator[:, index].sum())
        assert outside[feature.name, "low"] == int((column < feature.minimum).sum())
        assert outside[feature.name, "high"] == int((column > feature.maximum).sum())
    labels = confusion_matrix(rows.outcomes, rows.outcomes, labels=[0, 1]).diagonal()
    assert list(counted.numbers(instruments.PREDICTIONS).values()) == labels.tolist()
    city = np.bincount(rows.codes[0], minlength=len(CITIES)).tolist()
    assert list(counted.numbers(instruments.FEATURE_CATEGORIES).values()) == city
    for instrument, column in (
        (instruments.PREDICTION_SCORE, rows.probabilities[:, 1]),
        (instruments.PREDICTION_CONFIDENCE, rows.probabilities[np.arange(2000), rows.outcomes]),
    ):
        (snapshot,) = counted.histograms(instrument).values()
        assert snapshot.counts == hand_counted(column, snapshot.bounds)
        assert snapshot.sum == pytest.approx(hand_summed(column), rel=1e-9, abs=1e-6)


def test_odd_values_of_a_regression_are_counted_as_by_hand(regression_model: DescribedModel) -> None:
    """Every row of a regression is a prediction; values that are NaN are in no bucket, enormous ones in no sum."""
    rows, _ = random_rows(500)
    values = np.random.default_rng(6).normal(0, 100, 500)
    values[::7], values[1::7], values[2::7], values[3::70] = np.nan, np.inf, -1e300, -np.inf
    table = SeriesTable(describe(regression_model))
    counted = folded(table, predicted(regression_model, Rows(rows.numeric, rows.codes, None, None, values)))
    assert counted.numbers(instruments.PREDICTIONS) == {(): 500}
    (score,) = counted.histograms(instruments.PREDICTION_SCORE).values()
    assert score.counts == hand_counted(values, score.bounds)
    assert score.sum == pytest.approx(hand_summed(values))
    assert counted.histograms(instruments.PREDICTION_CONFIDENCE) == {}


def test_an_infinite_number_is_out_of_range_and_not_missing(table: SeriesTable, model: DescribedModel) -> None:
    """Infinities are out of range on their side; no imputer fills them in. NaN is missing, and in no range."""
    ages = (np.inf, -np.inf, -np.inf, np.nan, np.nan, np.nan)
    counted = folded(table, *(predicted(model, one_row(age)) for age in ages))
    outside = counted.numbers(instruments.FEATURE_OUT_OF_RANGE)
    assert (outside["age", "low"], outside["age", "high"]) == (2, 1)
    assert counted.numbers(instruments.FEATURE_MISSING)["age"] == 3
    assert counted.numbers(instruments.FEATURE_IMPUTED)["age", "median"] == 3
    assert counted.histograms(instruments.FEATURE_VALUE)["age"].count == 3


def test_the_range_of_training_includes_its_ends(table: SeriesTable, model: DescribedModel) -> None:
    """The least and the greatest training value are in range; the next float beyond each is not."""
    low, high = model.profile.numeric[0].minimum, model.profile.numeric[0].maximum
    inside = folded(table, *(predicted(model, one_row(age)) for age in (low, high)))
    outside = folded(
        table,
        predicted(model, one_row(float(np.nextafter(low, -np.inf)))),
        predicted(model, one_row(float(np.nextafter(high, np.inf)))),
    )
    for counted, expected in ((inside, 0), (outside, 1)):
        found = counted.numbers(instruments.FEATURE_OUT_OF_RANGE)
        assert (found["age", "low"], found["age", "high"]) == (expected, expected)
        assert counted.histograms(instruments.FEATURE_VALUE)["age"].count == 2


def test_a_feature_without_training_values_has_no_range(profile: ReferenceProfile, model: DescribedModel) -> None:
    """For a feature without a value in training, every value is counted and is never out of range."""
    empty = replace(profile, numeric=(profile_numeric("age", np.full(9, np.nan)), profile.numeric[1]))
    described = replace(model, profile=empty)
    counted = folded(SeriesTable(describe(described)), predicted(described, one_row(1e9)))
    outside = counted.numbers(instruments.FEATURE_OUT_OF_RANGE)
    assert (outside["age", "low"], outside["age", "high"]) == (0, 0)
    assert counted.histograms(instruments.FEATURE_VALUE)["age"].counts == [1]


def test_confidence_is_that_in_the_outcome(table: SeriesTable, model: DescribedModel) -> None:
    """Where a threshold was moved, the confidence is P(predicted class), not the largest probability."""
    counted = folded(table, predicted(model, one_row(40.0, probability=0.3, outcome=1)))
    assert counted.histograms(instruments.PREDICTION_CONFIDENCE)[()].sum == pytest.approx(0.3)


def test_rows_in_pieces_count_as_one(table: SeriesTable, model: DescribedModel) -> None:
    """One request of 1,000 rows and 1,000 of one row are the same counts."""
    rows, _ = random_rows(1000)
    whole, size = encoded(model, rows), model.row_layout.struct.size
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    singly = folded(table, *(written(ENDED._replace(model=0, n_rows=1, rows=piece)) for piece in pieces))
    together = folded(table, predicted(model, rows))
    for instrument in (instruments.PREDICTIONS, instruments.FEATURE_CATEGORIES):
        assert singly.numbers(instrument) == together.numbers(instrument)
    one, other = (each.histograms(instruments.FEATURE_VALUE) for each in (singly, together))
    assert [snapshot.counts for snapshot in one.values()] == [snapshot.counts for snapshot in other.values()]


def test_features_of_any_vocabulary_are_counted_side_by_side(profile: ReferenceProfile, model: DescribedModel) -> None:
    """10,000 codes in each of three vocabularies are counted as numpy's bincount counts them."""
    random = np.random.default_rng(1)
    features = tuple(profile_categorical(f"f{size}", [f"c{i}" for i in range(size)] * 2) for size in (1, 3, 88))
    described = replace(model, profile=replace(profile, categorical=features))
    sizes = [len(feature.series_values) for feature in features]
    codes = np.array([random.integers(0, size, 10_000) for size in sizes])
    table = SeriesTable(describe(described))
    block = Block(table)
    block.add_codes(table.models[0], codes[:, :4000])
    block.add_codes(table.models[0], codes[:, 4000:])
    found = Counted(table, block.counts()).numbers(instruments.FEATURE_CATEGORIES)
    for feature, row in zip(features, codes, strict=True):
        counts = [found[feature.name, value] for value in feature.series_values]
        assert counts == np.bincount(row, minlength=len(counts)).tolist()


def test_batches_and_errors(table: SeriesTable) -> None:
    """A batch counts its size, the time of its steps and of waiting; an error its reason; an unknown one is refused."""
    counted = folded(
        table,
        batch_event(0, 7, (0, 2_000_000, 32_000_000), (1_000_000, 3_000_000)),
        written(ENDED._replace(model=0, reason=1, status=422)),
    )
    assert counted.histograms(instruments.BATCH_SIZE)[()].sum == 7
    assert counted.histograms(instruments.PREDICTION_DURATION)["classify"].sum == 0.03
    waiting = counted.histograms(instruments.QUEUE_DURATION)[()]
    assert (waiting.count, waiting.sum) == (2, 0.004)
    assert counted.numbers(instruments.PREDICTION_ERRORS) == {"rejected": 1, "failed": 0, "cancelled": 0}
    with pytest.raises(IndexError):
        folded(table, written(ENDED._replace(model=0, reason=4)))


def test_a_request_that_was_predicted_alone_counts_its_batch(table: SeriesTable) -> None:
    """The event of such a request is its batch too: size, steps, and the time that it waited."""
    own = ENDED._replace(
        model=0, flags=IS_OWN_BATCH, batch_rows=3, queued_ns=100, marks=(1_000_100, 3_000_100, 8_000_100)
    )
    counted = folded(table, written(own))
    steps = counted.histograms(instruments.PREDICTION_DURATION)
    assert {step: snapshot.sum for step, snapshot in steps.items()} == {"prepare": 0.002, "classify": 0.005}
    assert counted.histograms(instruments.BATCH_SIZE)[()].sum == 3
    assert counted.histograms(instruments.QUEUE_DURATION)[()].sum == 0.001


def test_a_batch_of_many_steps_is_counted(model: DescribedModel) -> None:
    """Each of 300 steps of a pipeline has its time."""
    described = replace(model, steps=tuple(f"s{i}" for i in range(300)))
    table = SeriesTable(describe(described))
    marks = tuple(1_000_000 * i for i in range(301))
    own = ENDED._replace(model=0, flags=IS_OWN_BATCH, batch_rows=1, marks=marks)
    found = folded(table, written(own), batch_event(0, 1, marks, ())).histograms(instruments.PREDICTION_DURATION)
    assert {snapshot.sum for snapshot in found.values()} == {0.002}
    assert len(found) == 300


def test_faults_and_kept_traces(table: SeriesTable) -> None:
    """A fault counts at its place; a place that the description does not name is refused."""
    counted = folded(table, *[body_event(FAULT, b"reading")] * 3, body_event(LOG, b"a line"))
    faults = counted.numbers(instruments.FAULTS)
    assert {place: n for place, n in faults.items() if n} == {"reading": 3}
    assert {"middleware", "request_log", "ring_full"} < faults.keys()
    with pytest.raises(ValueError, match="not in"):
        folded(table, body_event(FAULT, b"elsewhere"))
    block = Block(table)
    block.add_kept(1)
    block.add_kept(3, is_over_budget=True)
    counts = Counted(table, block.counts())
    assert counts.numbers(instruments.TRACES_KEPT) == {"asked": 0, "failed": 1, "slow": 0, "exemplar": 0}
    assert counts.numbers(instruments.TRACES_OVER_BUDGET) == {"asked": 0, "failed": 0, "slow": 0, "exemplar": 1}


def test_requests_are_counted_by_kind(table: SeriesTable) -> None:
    """Kinds that are not expected share a series, failures another; a duration on a bound is in the bucket before."""
    elsewhere = ENDED._replace(route=NO_ROUTE, texts=Texts(b"/x", route=b"/x/{y}"), method=0)
    others = elsewhere, ENDED._replace(route=NO_ROUTE, status=404), ENDED._replace(status=0), ENDED._replace(status=503)
    counted = folded(table, written(lasting(0.005)), written(lasting(0.0051)), *map(written, others))
    assert counted.requests() == {RequestKind("GET", "/", 200): 2, OTHER: 3, OTHER_FAILED: 1}
    assert OTHER.attributes == {"http.request.method": "_OTHER", "url.scheme": "http"}
    assert OTHER_FAILED.attributes["http.response.status_code"] == 500
    first = counted.durations()[RequestKind("GET", "/", 200)]
    assert first.counts[:3] == [1, 1, 0]
    assert first.sum == pytest.approx(0.0101)


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("version", range(len(HTTP_VERSIONS)))
def test_scheme_and_version_make_no_series(table: SeriesTable, scheme: int, version: int) -> None:
    """A client chooses the version, and by a header the scheme; a request with any of them is counted as expected."""
    counted = folded(table, written(ENDED._replace(scheme=scheme, version=version)))
    assert counted.requests() == {RequestKind("GET", "/", 200): 1}
    assert counted.counts.kinds == table.kinds


@pytest.fixture
def any_kind() -> SeriesTable:
    """The series of a service that expects no requests in particular."""
    return SeriesTable(Description((), ("/",)))


def of_status(status: int) -> RequestEvent:
    """A request with this status, which need not exist."""
    return ENDED._replace(status=status)


def test_kinds_beyond_the_limit_share_two_series(any_kind: SeriesTable) -> None:
    """Of 2,500 kinds as many as are allowed have a series; the others share two, and no request is lost."""
    counted = folded(any_kind, *(written(of_status(status)) for status in range(2500)))
    requests = counted.requests()
    assert sum(requests.values()) == 2500
    assert requests[OTHER_FAILED] == 2500 - (MAX_KINDS - 2)  # the two shared ones are among the 2,000
    assert len(counted.counts.kinds) == MAX_KINDS


def test_added_counts_keep_the_limit(any_kind: SeriesTable) -> None:
    """Blocks with 1,500 kinds each have 2,000 together, and no request is lost."""
    counts = folded(any_kind, *(written(of_status(status)) for status in range(1500))).counts
    for first in (1500, 3000, 0):
        counts += folded(any_kind, *(written(of_status(first + n)) for n in range(1500))).counts
    requests = Counted(any_kind, counts).requests()
    assert (len(counts.kinds), sum(requests.values())) == (MAX_KINDS, 6000)
    assert requests[RequestKind("GET", "/", 7)] == 2
    assert requests[OTHER_FAILED] == 6000 - 2 * 1500 - (MAX_KINDS - 2 - 1500)


def test_every_kind_exists_at_zero(table: SeriesTable) -> None:
    """Expected kinds and those that all others share exist before any request."""
    kinds = dict(folded(table).counts.durations(table))
    assert {kind: snapshot.count for kind, snapshot in kinds.items()} == {
        RequestKind("GET", "/", 200): 0,
        RequestKind("POST", "/predict/model", 200): 0,
        RequestKind("POST", "/predict/model", 500): 0,
        OTHER: 0,
        OTHER_FAILED: 0,
    }


@pytest.mark.parametrize(
    "broken",
    [
        written(ENDED)[:20],
        written(ENDED._replace(method=99)),
        written(ENDED._replace(route=7)),
        written(ENDED._replace(model=3, rows=b"12345678")),
        written(ENDED._replace(model=0, rows=b"1234567")),
        body_event(COUNTS, b"no counts"),
    ],
)
def test_what_is_no_event_is_refused(table: SeriesTable, broken: bytes) -> None:
    """Bytes that no service writes raise an error and count nothing silently."""
    with pytest.raises((ValueError, IndexError, struct.error)):
        fold([broken], table)


def test_rows_that_do_not_fit_can_be_left_out(table: SeriesTable, model: DescribedModel) -> None:
    """Rows with codes or outcomes that do not exist, or cut, are dropped one request at a time; the rest counts."""
    fitting = encoded(model, random_rows(5)[0])
    far = encoded(model, replace(one_row(1.0), codes=np.array([[len(CITIES)]])))
    unknown = encoded(model, replace(one_row(1.0), outcomes=np.array([2])))
    events = [
        ENDED._replace(model=0, rows=rows) for rows in (fitting, far, unknown, fitting[:-8], fitting[:8], fitting)
    ]
    block = Block(table)
    for event in events:
        block.add_request(event)
    assert block.drop_misfits() == 4
    assert block.drop_misfits() == 0
    counted = Counted(table, block.counts())
    assert sum(counted.numbers(instruments.PREDICTIONS).values()) == 10
    assert sum(counted.requests().values()) == 6


@settings(max_examples=100)
@given(some_events(), some_events())
def test_folding_in_two_is_folding_at_once(first: list[bytes], second: list[bytes]) -> None:
    """fold(a + b) is fold(a) + fold(b), whatever the events."""
    table = REQUESTS.table
    assert_alike(fold(first + second, table), fold(first, table) + fold(second, table))


@settings(max_examples=50)
@given(some_events(), some_events())
def test_counts_in_an_event_count_as_their_events(first: list[bytes], second: list[bytes]) -> None:
    """An event that carries counts adds what the events behind them would add."""
    table = REQUESTS.table
    carried = body_event(COUNTS, fold(first, table).to_bytes())
    assert_alike(fold([carried, *second], table), fold([*second, *first], table))


@settings(max_examples=50)
@given(some_events())
def test_every_request_is_counted_once(events: list[bytes]) -> None:
    """The durations of all kinds together are as many as there are requests."""
    requests = Counted(REQUESTS.table, fold(events, REQUESTS.table)).requests()
    types = Counter(event[0] for event in events)
    assert sum(requests.values()) == types[REQUEST]
