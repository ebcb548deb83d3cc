"""Verifies a model before it is bundled: sample rows go through it as the rows of a request do.

What the model takes is found out by trying it; what the service would answer is compared with the estimator.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from sightline_service.bundles.bundle import Bundle, SampleRow
from sightline_service.bundles.model_loading import text_of
from sightline_service.errors import BundleError, SightlineError, StartupError
from sightline_service.prediction.columns import ColumnBuilder, Columns, Value, unseen_value
from sightline_service.prediction.dataframes import FrameBuilder
from sightline_service.prediction.inspection import takes_arrays
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.result import OutputArrays
from sightline_telemetry.estimators import is_passed_through
from sightline_telemetry.model.profile import CategoricalFeature, Feature, NumericFeature, ReferenceProfile

SAMPLE_ROWS = 200
SINGLE_ROWS = 10
TOLERANCE = 1e-12
UNMIXED_TOLERANCE = 1e-9
"""The same for a row by itself, relative to the largest value: BLAS adds in another order for one row than for many."""
SINGLE_PRECISION_TOLERANCE = 1e-4
"""The same where the model was fitted on single precision and computes in it."""


def sample_by_column(data: pd.DataFrame) -> pd.DataFrame:
    """Returns rows to verify a model with; each column is sampled by itself, so no row of the training data leaves."""
    generator = np.random.default_rng(0)
    n_rows = min(SAMPLE_ROWS, len(data))
    sampled = {}
    for name, whole in data.items():
        column = whole
        if pd.api.types.is_float_dtype(whole):
            column = whole[~np.isinf(whole.to_numpy(np.float64, na_value=np.nan))]  # JSON cannot write infinity
        if column.empty:
            raise BundleError(f"the column {name!r} has only infinite values; leave it out and fit again")
        at = generator.choice(len(column), n_rows, replace=len(column) < n_rows)
        sampled[name] = column.iloc[at].reset_index(drop=True)
    return pd.DataFrame(sampled)


def sample_rows(sample: pd.DataFrame, profile: ReferenceProfile) -> tuple[SampleRow, ...]:
    """Returns the rows of a DataFrame as a client would write them."""
    columns = [_values(sample[feature.name], feature) for feature in profile.features]
    names = [feature.name for feature in profile.features]
    return tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def sample_columns(sample: tuple[SampleRow, ...], profile: ReferenceProfile) -> Columns:
    """Reads sample rows as a request's are read: from JSON to structs to columns."""
    reader = InstanceReader(profile, max_rows=len(sample))
    return ColumnBuilder(profile).build(reader.read(msgspec.json.encode({"instances": sample})))


def tried_predictor(bundle: Bundle) -> Predictor:
    """Returns what predicts the rows of a bundle, after it has predicted the bundle's own sample rows.

    Raises BundleError if model, profile and sample rows do not belong together.
    """
    try:
        columns = sample_columns(bundle.sample, bundle.profile)
        predictor = Predictor(bundle.model, bundle.profile)
        predictor.predict(columns)
        predictor.build_fast_path(columns)
    except StartupError:
        raise
    except Exception as error:  # a model raises anything
        raise BundleError(
            f"the bundle {bundle.name} {bundle.version} does not predict its own sample rows ({text_of(error)}); make "
            "the bundle again"
        ) from error
    return predictor


def with_probed_capabilities(model: Any, profile: ReferenceProfile, rows: tuple[SampleRow, ...]) -> ReferenceProfile:
    """Tries a missing value, and an unseen category, in each feature, and notes in the profile what the model takes."""
    predictor = Predictor(model, profile)

    def takes(feature: Feature, value: Value | None) -> bool:
        columns = sample_columns(({**rows[0], feature.name: value},), profile)
        try:
            predictor.predict(columns)
        except SightlineError:
            return False
        return True

    numeric: tuple[NumericFeature, ...] = tuple(
        replace(feature, accepts_missing=takes(feature, None)) for feature in profile.numeric
    )
    categorical: tuple[CategoricalFeature, ...] = tuple(
        replace(feature, accepts_missing=takes(feature, None), accepts_unseen=takes(feature, unseen_value(feature)))
        for feature in profile.categorical
    )
    return replace(profile, numeric=numeric, categorical=categorical)


def compare(served: Any, model: Any, profile: ReferenceProfile, sample: pd.DataFrame) -> None:
    """Compares what the service would answer with the estimator, for all rows at once and for some rows by themselves.

    served: the model as it is read back from a bundle; model: the fitted estimator.
    Raises BundleError that names the step whose output differs.
    """
    predictor = Predictor(served, profile)
    rows = sample_rows(sample, profile)
    mixed = predictor.predict(sample_columns(rows, profile))
    if not _is_equal(mixed.arrays, _outputs(model, sample, profile)):
        ours = FrameBuilder(profile).build(sample_columns(rows, profile))
        where = _first_difference(served, ours, model, sample)
        raise BundleError(f"the service would predict otherwise than the model on the sample rows; {where}")
    is_single = any(feature.dtype == "float32" for feature in profile.numeric)
    tolerance = SINGLE_PRECISION_TOLERANCE if is_single else UNMIXED_TOLERANCE
    values = mixed.arrays.values
    largest = float(np.max(np.abs(values), initial=0.0)) if values is not None else 1.0
    for row in range(min(SINGLE_ROWS, len(sample))):
        unmixed = predictor.predict(sample_columns(rows[row : row + 1], profile))
        if not _is_equal(unmixed.arrays, mixed.part(row, row + 1).arrays, tolerance, tolerance * largest):
            where = _first_difference(model, sample.iloc[[row]], model, sample, slice(row, row + 1))
            raise BundleError(f"a row by itself is predicted otherwise than the same row among others; {where}")


def _values(column: "pd.Series[Any]", feature: Feature) -> Iterator[Value | None]:
    if isinstance(feature, NumericFeature):
        as_sent = {"bool": bool, "int64": int}.get(feature.dtype, float)
        return (None if pd.isna(value) else as_sent(value) for value in column.tolist())
    # With pandas 2 an object column may hold numpy's own strings, numbers and booleans, which JSON does not know.
    plain = (value.item() if isinstance(value, np.generic) else value for value in column.astype(object).tolist())
    return (None if pd.isna(value) else value for value in plain)


def _outputs(model: Any, sample: pd.DataFrame, profile: ReferenceProfile) -> OutputArrays:
    x = sample.to_numpy() if takes_arrays(model) else sample
    if profile.task == "regression":
        return OutputArrays(None, None, np.asarray(model.predict(x), dtype=np.float64).reshape(-1))
    probabilities = np.asarray(model.predict_proba(x), dtype=np.float64) if profile.scores else None
    return OutputArrays(pd.Index(model.classes_).get_indexer(pd.Index(model.predict(x))), probabilities)


def _is_equal(ours: OutputArrays, theirs: OutputArrays, rtol: float = TOLERANCE, atol: float = TOLERANCE) -> bool:
    """Whether outcomes are equal and numbers are close; rtol and atol are numpy's."""
    return all(
        a is b is None or (a is not None and b is not None and np.allclose(a, b, rtol, atol, equal_nan=True))
        for a, b in zip(ours, theirs, strict=True)
    )


def _first_difference(served: Any, ours: Any, model: Any, theirs: Any, rows: slice = slice(None)) -> str:
    """Names the step whose output differs; rows: the rows of theirs that ours are compared with."""
    if not isinstance(model, Pipeline):
        return f"{type(model).__name__} gives another value each time, or depends on what the service cannot send"
    for (name, step), (_, other) in zip(served.steps[:-1], model.steps[:-1], strict=True):
        if is_passed_through(step):
            continue
        ours, theirs = step.transform(ours), other.transform(theirs)
        if not _is_same_output(ours, theirs, rows):
            return f"the step {name!r} ({type(step).__name__}) makes other columns of the same rows"
    name, last = model.steps[-1]
    return f"the step {name!r} ({type(last).__name__}) gives other results for the same columns"


def _is_same_output(ours: Any, theirs: Any, rows: slice) -> bool:
    ours, theirs = _dense(ours), _dense(theirs)[rows]
    if ours.shape != theirs.shape:
        return False
    try:
        return np.allclose(ours.astype(float), theirs.astype(float), TOLERANCE, TOLERANCE, equal_nan=True)
    except (TypeError, ValueError):
        return bool(((ours == theirs) | (pd.isna(ours) & pd.isna(theirs))).all())


def _dense(output: Any) -> NDArray[Any]:
    return np.asarray(output.toarray() if hasattr(output, "toarray") else output)
