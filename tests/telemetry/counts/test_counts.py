"""Counts are a value: they add in any order, travel as bytes, and those of another description are refused."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline_telemetry import instruments
from sightline_telemetry.counts.counts import VERSION, Counts, ForeignCountsError
from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.fold import fold
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.requests.request_kind import OTHER, OTHER_FAILED, RequestKind
from tests.telemetry.counted import Counted, assert_alike
from tests.telemetry.counts.random_events import REQUESTS, some_events
from tests.telemetry.rows import random_rows
from tests.telemetry.serving import ENDED, describe, predicted, written

SOME = some_events().map(lambda events: fold(events, REQUESTS.table))


@settings(max_examples=50)
@given(SOME, SOME, SOME)
def test_addition_is_associative(one: Counts, two: Counts, three: Counts) -> None:
    """It does not matter which of three counts are added first."""
    assert_alike((one + two) + three, one + (two + three))


@settings(max_examples=50)
@given(SOME, SOME)
def test_addition_is_commutative(one: Counts, two: Counts) -> None:
    """It does not matter which of two counts comes first, but for the order of kinds."""
    assert_alike(one + two, two + one)


@settings(max_examples=50)
@given(SOME)
def test_zero_changes_nothing(counts: Counts) -> None:
    """Counts of nothing are the identity of addition."""
    zero = Counts.zero(REQUESTS.table)
    assert_alike(counts + zero, counts)
    assert_alike(zero + counts, counts)


@settings(max_examples=50)
@given(SOME)
def test_counts_travel_as_bytes(counts: Counts) -> None:
    """What is read is what was written, kinds in their order, and can be added to."""
    read = Counts.from_bytes(counts.to_bytes(), counts.digest)
    assert (read.digest, read.kinds) == (counts.digest, counts.kinds)
    assert read.integers.tolist() == counts.integers.tolist()
    assert read.sums.tolist() == counts.sums.tolist()
    assert all(isinstance(kind, RequestKind) for kind in read.kinds)
    assert_alike(read + read, counts + counts)


@settings(max_examples=50)
@given(SOME, st.data())
def test_bytes_that_were_cut_are_refused(counts: Counts, data: st.DataObject) -> None:
    """However many bytes are missing at the end, or too many, they are no counts."""
    written_bytes = counts.to_bytes()
    n = data.draw(st.integers(0, len(written_bytes) - 1))
    with pytest.raises(ForeignCountsError):
        Counts.from_bytes(written_bytes[:n], counts.digest)
    with pytest.raises(ForeignCountsError):
        Counts.from_bytes(written_bytes + b"\0", counts.digest)


def test_counts_of_another_kind_are_refused(table: SeriesTable, regression_model: DescribedModel) -> None:
    """Another description, another version and other bytes are refused, and such counts cannot be added."""
    counts, other = Counts.zero(table), Counts.zero(SeriesTable(describe(regression_model)))
    data = counts.to_bytes()
    with pytest.raises(ForeignCountsError, match="of this version and description"):
        Counts.from_bytes(data, other.digest)
    later = data[:4] + struct.pack("<I", VERSION + 1) + data[8:]
    with pytest.raises(ForeignCountsError, match="of this version and description"):
        Counts.from_bytes(later, counts.digest)
    with pytest.raises(ForeignCountsError, match="of this version and description"):
        Counts.from_bytes(b"x" + data[1:], counts.digest)
    with pytest.raises(ForeignCountsError, match="two different descriptions"):
        counts + other


def test_kinds_that_only_one_has_are_aligned() -> None:
    """Where no kind is expected, each keeps its numbers when counts with other kinds are added, in either order."""
    table = SeriesTable(Description((), ("/",)))
    one = fold([written(ENDED._replace(status=201))] * 2, table)
    two = fold([written(ENDED._replace(status=404)), written(ENDED._replace(status=201)), written(ENDED)], table)
    for counts in (one + two, two + one):
        durations = Counted(table, counts).durations()
        assert {kind.status: snapshot.count for kind, snapshot in durations.items()} == {201: 3, 404: 1, 200: 1}
        assert [snapshot.sum for snapshot in durations.values()] == pytest.approx(
            [0.01 * snapshot.count for snapshot in durations.values()]
        )


def test_adding_changes_neither(table: SeriesTable, model: DescribedModel) -> None:
    """Both summands are what they were."""
    one, two = fold([written(ENDED)], table), fold([predicted(model, random_rows(9)[0])], table)
    before = one.to_bytes(), two.to_bytes()
    one + two
    assert (one.to_bytes(), two.to_bytes()) == before


def test_every_series_exists_at_zero(table: SeriesTable, model: DescribedModel) -> None:
    """Counts of nothing have every series of the description, each once."""
    counted = Counted(table, Counts.zero(table))
    assert counted.numbers(instruments.PREDICTIONS) == {"no": 0, "yes": 0}
    assert set(counted.histograms(instruments.PREDICTION_DURATION)) == set(model.steps)
    numbers = [(series.instrument.name, tuple(series.attributes.items())) for series in table.numbers]
    histograms = [(series.instrument.name, tuple(series.attributes.items())) for series in table.histograms]
    assert len(set(numbers)) == len(numbers)
    assert len(set(histograms)) == len(histograms)
    assert {value for _, value in counted.counts.numbers(table)} == {0}
    assert counted.counts.kinds[-2:] == (OTHER, OTHER_FAILED)


def test_attributes_are_those_of_the_list(table: SeriesTable, regression_model: DescribedModel) -> None:
    """Each series has the attributes that instruments.py lists; an outcome or a client only where there are some."""
    for each in (table, SeriesTable(describe(regression_model))):
        found = [(series.instrument, set(series.attributes)) for series in each.numbers]
        found += [(series.instrument, set(series.attributes)) for series in each.histograms]
        for instrument, attributes in found:
            missing = set(instrument.attributes) - attributes
            assert attributes <= set(instrument.attributes)
            assert missing <= {"outcome", "sightline.client"}
