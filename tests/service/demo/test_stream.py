"""The replay returns flights of July to December as rows of requests, in order, again and again."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from sightline_service.demo.flights import CATEGORICAL, FEATURES, NUMERIC
from sightline_service.demo.stream import FlightStream

N_SHORT = 5


def _short(replayed: pd.DataFrame) -> FlightStream:
    return FlightStream(replayed.head(N_SHORT))


def test_instances_are_the_rows_in_order(replayed: pd.DataFrame) -> None:
    """For any numbers of rows, the values are those of the data in their order, with None for NaN."""
    stream = FlightStream(replayed)
    taken = [instance for n_rows in (1, 2500, 7, 1499) for instance in stream.take(n_rows)]
    expected = replayed.head(len(taken))
    assert len(taken) == 4007
    for name in NUMERIC:
        values = np.array([instance[name] for instance in taken], dtype=np.float64)
        np.testing.assert_array_equal(values, expected[name].to_numpy())
    for name in CATEGORICAL:
        assert [instance[name] for instance in taken] == expected[name].tolist()


def test_missing_values_are_none(replayed: pd.DataFrame) -> None:
    """No NaN reaches a request: as many None as the data have missing gusts, and the JSON is strict."""
    instances = FlightStream(replayed).take(1000)
    assert sum(instance["wind_gust"] is None for instance in instances) == replayed["wind_gust"].head(1000).isna().sum()
    assert json.loads(json.dumps(instances, allow_nan=False)) == instances


def test_values_are_plain_python(replayed: pd.DataFrame) -> None:
    """Numbers are float or None, categories str or None, never a numpy scalar; every feature is there."""
    instances = FlightStream(replayed).take(3000)
    assert {type(instance[name]) for instance in instances for name in NUMERIC} == {float, type(None)}
    assert {type(instance[name]) for instance in instances for name in CATEGORICAL} == {str}
    assert {tuple(instance) for instance in instances} == {FEATURES}


def test_the_stream_begins_again(replayed: pd.DataFrame) -> None:
    """After the last flight comes the first again, in every round."""
    stream = _short(replayed)
    first = stream.take(N_SHORT)
    assert stream.take(2 * N_SHORT + 2) == [*first, *first, *first[:2]]
    assert stream.now == replayed["scheduled"].iloc[2]


def test_time_goes_forward(replayed: pd.DataFrame) -> None:
    """The stream's clock is the departure of the next flight, and never goes back within a round."""
    stream = FlightStream(replayed)
    moments = []
    for _ in range(20):
        moments.append(stream.now)
        stream.take(500)
    assert moments[0] == pd.Timestamp(2013, 7, 1, 5)
    assert moments[1] == replayed["scheduled"].iloc[500]
    assert all(earlier < later for earlier, later in pairwise(moments))


@pytest.mark.parametrize("n_rows", [0, 1, N_SHORT, 12])
def test_as_many_instances_as_requested(replayed: pd.DataFrame, n_rows: int) -> None:
    """As many rows are returned as requested, for none and for more than one round too."""
    assert len(_short(replayed).take(n_rows)) == n_rows
