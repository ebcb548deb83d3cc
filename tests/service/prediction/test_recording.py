"""Rows in an event: few as they were read or many by numpy, an observer reads the same numbers."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sightline_service.bundles.profiling import profile_training
from sightline_service.prediction.columns import UNSEEN_WORD, ArrayColumns, ColumnBuilder, RowColumns
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.recording import FEW_ROWS, RowEncoder
from sightline_service.prediction.result import ListPrediction, OutputLists
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.row_arrays import row_array
from sightline_telemetry.events.layout import RawRows, read_request
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import CategoricalFeature, Feature, ReferenceProfile
from tests.service.zoo import CASES, many, table
from tests.telemetry.serving import ENDED, written

EXTREMES: tuple[Any, ...] = (0, -0.0, 2**53 + 1, -(2**63), 2**64, 10**300, 5e-324, -1.5e-310, 1e308)
"""Numbers that a client may send to any numeric feature: the smallest, the largest, and integers beyond float64."""
STRANGE: tuple[Any, ...] = (0, 1, 0.5, -7, 2**70)
"""Numbers that no training data has, or has as booleans; for categories that are numbers or booleans."""

FAST = {"logistic", "regression", "boosting takes all", "no probabilities", "booleans with gaps", "array"}
N_ROWS = 60


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_rows_are_the_same_numbers_raw_and_by_numpy(name: str) -> None:
    """Missing, unseen, huge, tiny and boolean values, and outputs of every kind, are the same numbers then."""
    case = CASES[name]
    data = many() if "shop" in case.columns else table()
    features = data[list(case.columns)]
    model = case.make().fit(features.to_numpy() if case.as_array else features, data[case.label])
    profile = profile_training(model, features, data[case.label])
    plain, sent = sent_rows(profile, features)
    reader, builder = InstanceReader(profile, N_ROWS), ColumnBuilder(profile)
    rows = reader.read(json.dumps({"instances": sent}).encode())
    predicted = Predictor(model, profile).predict(builder.build(reader.read(json.dumps({"instances": plain}).encode())))
    model_described = DescribedModel(ModelId(name, "1"), profile)
    encoder = RowEncoder(model_described)
    few = ListPrediction(predicted.lists, predicted.marks)
    parts = [
        carried(encoder.encode(RowColumns(builder, rows[at:stop]), few.part(at, stop), is_small=True))
        for at, stop in pairwise([*range(0, N_ROWS, FEW_ROWS), N_ROWS])
    ]
    has_numbers = any(feature.dtype != "str" for feature in profile.categorical)
    assert {isinstance(part, RawRows) for part in parts} == {not has_numbers}
    arrays = builder.arrays(rows)
    read = row_array(model_described, parts)
    by_numpy = encoder.encode(ArrayColumns(arrays), predicted, is_small=True)
    assert read.tobytes() == row_array(model_described, [by_numpy]).tobytes()
    np.testing.assert_array_equal(read["numeric"].T, arrays.numeric)
    np.testing.assert_array_equal(read["codes"].T, arrays.codes)
    outcomes, probabilities, values = predicted.arrays
    for field, array in (("outcome", outcomes), ("probabilities", probabilities), ("value", values)):
        if array is not None:
            np.testing.assert_array_equal(read[field], array)


def carried(rows: RawRows | bytes) -> RawRows | bytes:
    """The rows as they arrive in an event."""
    return read_request(written(ENDED._replace(rows=rows))).rows


def sent_rows(profile: ReferenceProfile, data: pd.DataFrame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns rows of the training data as a client sends them, and the same with strange values in all fields."""
    random = np.random.default_rng(4)
    sample = data.sample(N_ROWS, random_state=3)
    plain: list[dict[str, Any]] = [{} for _ in range(N_ROWS)]
    strange: list[dict[str, Any]] = [{} for _ in range(N_ROWS)]
    for feature in profile.features:
        own = [None if pd.isna(value) else value for value in sample[feature.name].astype(object).tolist()]
        known = [value for value in own if value is not None] or [0.0]
        others = strange_values(feature)
        for index, value in enumerate(own):
            is_strange = others and random.random() < 0.5
            plain[index][feature.name] = known[0] if value is None and not feature.accepts_missing else value
            strange[index][feature.name] = (
                others[int(random.integers(len(others)))] if is_strange else plain[index][feature.name]
            )
    return plain, strange


def strange_values(feature: Feature) -> list[Any]:
    """Returns values that a client may send for a feature, and that few do."""
    missing = [None] if feature.accepts_missing else []
    if isinstance(feature, CategoricalFeature):
        if not feature.accepts_unseen:
            return missing
        booleans = [True, False] if feature.dtype == "bool" else []
        return [*missing, *([UNSEEN_WORD, ""] if feature.dtype == "str" else [*STRANGE, *booleans])]
    return [*missing, *EXTREMES, *((True, False) if feature.dtype == "bool" else ())]


def test_no_rows_are_none() -> None:
    """A request of no rows leaves none."""
    data = table()
    model = CASES["logistic"].make().fit(data[list(CASES["logistic"].columns)], data["answer"])
    profile = profile_training(model, data[list(CASES["logistic"].columns)], data["answer"])
    described, builder = DescribedModel(ModelId("m", "1"), profile), ColumnBuilder(profile)
    none, outputs = RowColumns(builder, []), ListPrediction(OutputLists([], []), ())
    rows = carried(RowEncoder(described).encode(none, outputs, is_small=True))
    assert len(row_array(described, [rows])) == 0


@pytest.mark.parametrize("is_small", [True, False])
def test_a_long_text_is_no_part_of_an_event(is_small: bool) -> None:
    """Of a small body the values are written as they are; a large one may have a long text, and leaves codes."""
    data = table()
    case = CASES["logistic"]
    model = case.make().fit(data[list(case.columns)], data["answer"])
    profile = profile_training(model, data[list(case.columns)], data["answer"])
    described, builder = DescribedModel(ModelId("m", "1"), profile), ColumnBuilder(profile)
    word = next(index for index, each in enumerate(profile.features) if isinstance(each, CategoricalFeature))
    row = tuple("x" * 70_000 if index == word else None for index in range(len(profile.features)))
    outputs = ListPrediction(OutputLists([0], [(0.75, 0.25)]), ())
    rows = RowEncoder(described).encode(RowColumns(builder, [row]), outputs, is_small=is_small)
    assert (len(written(ENDED._replace(rows=rows))) < 1000) != is_small
    (read,) = row_array(described, [carried(rows)])["codes"]
    assert read[0] == described.codes[0]["never seen"]
