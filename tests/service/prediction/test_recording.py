"""Rows in an event: written one by one or by numpy they are the same bytes, and they are read back as they were."""

import json
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
from sightline_telemetry.counts.fold import row_dtype
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import CategoricalFeature, Feature, ReferenceProfile
from tests.service.zoo import CASES, many, table

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
def test_rows_are_the_same_bytes_one_by_one_and_by_numpy(name: str) -> None:
    """Missing, unseen, huge, tiny and boolean values, and outputs of every kind, are written alike, and read back."""
    case = CASES[name]
    data = many() if "shop" in case.columns else table()
    features = data[list(case.columns)]
    model = case.make().fit(features.to_numpy() if case.as_array else features, data[case.label])
    profile = profile_training(model, features, data[case.label])
    plain, sent = sent_rows(profile, features)
    reader, builder = InstanceReader(profile, N_ROWS), ColumnBuilder(profile)
    rows = reader.read(json.dumps({"instances": sent}).encode())
    predicted = Predictor(model, profile).predict(builder.build(reader.read(json.dumps({"instances": plain}).encode())))
    encoder = RowEncoder(DescribedModel(ModelId(name, "1"), profile))
    few = ListPrediction(predicted.lists, predicted.marks)
    parts = [
        encoder.encode(RowColumns(builder, rows[at : at + FEW_ROWS]), few.part(at, at + FEW_ROWS))
        for at in range(0, N_ROWS, FEW_ROWS)
    ]
    arrays = builder.arrays(rows)
    assert b"".join(parts) == encoder.encode(ArrayColumns(arrays), predicted)
    read = np.frombuffer(b"".join(parts), row_dtype(DescribedModel(ModelId(name, "1"), profile).row_layout))
    np.testing.assert_array_equal(read["numeric"].T, arrays.numeric)
    np.testing.assert_array_equal(read["codes"].T, arrays.codes)
    outcomes, probabilities, values = predicted.arrays
    for field, array in (("outcome", outcomes), ("probabilities", probabilities), ("value", values)):
        if array is not None:
            np.testing.assert_array_equal(read[field], array)


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


def test_no_rows_are_no_bytes() -> None:
    """A request of no rows leaves no bytes, whichever way they are written."""
    data = table()
    model = CASES["logistic"].make().fit(data[list(CASES["logistic"].columns)], data["answer"])
    profile = profile_training(model, data[list(CASES["logistic"].columns)], data["answer"])
    encoder, builder = RowEncoder(DescribedModel(ModelId("m", "1"), profile)), ColumnBuilder(profile)
    none = RowColumns(builder, [])
    assert encoder.encode(none, ListPrediction(OutputLists([], []), ())) == b""
