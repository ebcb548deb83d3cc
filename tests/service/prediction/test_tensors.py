"""Tensors of the Open Inference Protocol become the very columns that rows become, or are refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline_service.bundles.bundle import load_bundle
from sightline_service.errors import RequestError
from sightline_service.prediction.columns import ColumnBuilder, Columns
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.tensors import TensorReader, output_tensor

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["age", "income", "city", "plan"]),
        "datatype": st.sampled_from(["FP64", "FP16", "INT64", "UINT8", "BOOL", "BYTES"]) | st.text(max_size=5),
        "shape": st.just([1]) | st.just([1, 1]) | JSON,
    },
    optional={"data": st.lists(JSON, max_size=2) | JSON, "parameters": JSON, "else": JSON},
)
BODY = st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=5) | JSON}, optional={"id": JSON, "outputs": JSON})


@pytest.fixture(scope="module")
def reader(small_bundle: Path) -> TensorReader:
    """Reads tensors for the small model."""
    profile = load_bundle(small_bundle).profile
    return TensorReader(profile, ColumnBuilder(profile), max_rows=10_000)


def test_tensors_become_the_columns_that_rows_become(small_bundle: Path, reader: TensorReader) -> None:
    """1,000 rows with missing values and unseen categories: equal columns, whether they came by row or by column."""
    random = np.random.default_rng(11)
    values: dict[str, list[Any]] = {
        "age": [None if value < 0 else value for value in random.normal(40, 30, 1000).tolist()],
        "income": random.exponential(3000, 1000).tolist(),
        "city": random.choice(np.array(["Bern", "Oslo", "Atlantis", None]), 1000).tolist(),
        "plan": random.choice(["free", "paid"], 1000).tolist(),
    }
    inputs = [
        {"name": name, "datatype": "BYTES" if name in ("city", "plan") else "FP64", "shape": [1000], "data": data}
        for name, data in values.items()
    ]
    by_column, _ = reader.read(json.dumps({"inputs": inputs}).encode())
    profile = load_bundle(small_bundle).profile
    rows = InstanceReader(profile, 1000)
    instances = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    by_row = ColumnBuilder(profile).build(rows.read(json.dumps({"instances": instances}).encode()))
    np.testing.assert_array_equal(by_column.arrays.numeric, by_row.arrays.numeric)
    np.testing.assert_array_equal(by_column.arrays.codes, by_row.arrays.codes)
    assert by_column.arrays.raw == by_row.arrays.raw


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY | JSON, tail=st.binary(max_size=20), is_split=st.booleans())
def test_whatever_comes_is_read_or_refused(reader: TensorReader, body: Any, tail: bytes, is_split: bool) -> None:
    """No body makes the reader raise anything but an error of the client's."""
    sent = json.dumps(body).encode()
    outcome: Columns | RequestError
    try:
        outcome, _ = reader.read(sent + tail, len(sent) if is_split else None)
    except RequestError as error:
        outcome = error
    assert len(outcome) >= 1 if not isinstance(outcome, RequestError) else outcome.detail


def test_strings_are_packed_by_their_length_in_bytes() -> None:
    """A string is packed as its length in 4 bytes, little-endian, and its UTF-8; numbers as they are in memory."""
    strings, binary = output_tensor("outcome", ["é", ""], is_binary=True)
    assert binary == b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00"
    assert (strings.shape, strings.parameters) == ([2], {"binary_data_size": 10})
    numbers, binary = output_tensor("probabilities", np.array([[1.0, -2.5]]), is_binary=True)
    assert binary == np.array([1.0, -2.5], dtype="<f8").tobytes()
    assert (numbers.shape, numbers.parameters) == ([1, 2], {"binary_data_size": 16})


def test_outputs_in_json_are_flat() -> None:
    """Elements stand row by row, with no binary data behind them."""
    tensor, binary = output_tensor("probabilities", np.array([[0.25, 0.75], [1.0, 0.0]]), is_binary=False)
    assert (tensor.datatype, tensor.shape, tensor.data, binary) == ("FP64", [2, 2], [0.25, 0.75, 1.0, 0.0], b"")
