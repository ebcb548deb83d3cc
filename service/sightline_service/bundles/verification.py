"""A model tried on sample rows, on the way that a request takes, before it is bundled.

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

from sightline_service.bundles.bundle import SampleRow
from sightline_service.errors import BundleError, SightlineError
from sightline_service.prediction.columns import ColumnBuilder, Columns, Value, category_values
from sightline_service.prediction.dataframes import FrameBuilder
from sightline_service.prediction.inspection import takes_arrays
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.result import Prediction
from sightline_telemetry.model.profile import CategoricalFeature, Feature, NumericFeature, ReferenceProfile

SAMPLE_ROWS = 200
SINGLE_ROWS = 10
TOLERANCE = 1e-12
ALONE_TOLERANCE = 1e-9
"""The same for a row alone, as a share of the largest value: BLAS adds in another order for one row than for many."""
SINGLE_TOLERANCE = 1e-4
"""The same where the model was fitted on single precision and computes in it."""
_INVENTED = "a category that nobody has seen"


def sample_by_column(data: pd.DataFrame) -> pd.DataFrame:
    """Rows to try a model with; each column is drawn by itself, so that no row of the training data leaves."""
    generator = np.random.default_rng(0)
    n_rows = min(SAMPLE_ROWS, len(data))
    drawn = {}
    for name, whole in data.items():
        column = whole
        if pd.api.types.is_float_dtype(whole):
            column = whole[~np.isinf(whole.to_numpy(np.float64, na_value=np.nan))]  # JSON has no word for them
        if column.empty:
            raise BundleError(f"the column {name!r} has nothing but infinite values; leave it out and fit again")
        at = generator.choice(len(column), n_rows, replace=len(column) < n_rows)
        drawn[name] = column.iloc[at].reset_index(drop=True)
    return pd.DataFrame(drawn)


def sample_rows(sample: pd.DataFrame, profile: ReferenceProfile) -> tuple[SampleRow, ...]:
    """The rows of a DataFrame as a client would write them."""
    columns = [_values(sample[feature.name], feature) for feature in profile.features]
    names = [feature.name for feature in profile.features]
    return tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def sample_columns(sample: tuple[SampleRow, ...], profile: ReferenceProfile) -> Columns:
    """Sample rows on the way that a request takes: JSON, structs, columns."""
    reader = InstanceReader(profile, max_rows=len(sample))
    return ColumnBuilder(profile).build(reader.read(msgspec.json.encode({"instances": sample})))


def with_probed_capabilities(model: Any, profile: ReferenceProfile, rows: tuple[SampleRow, ...]) -> ReferenceProfile:
    """Tries a missing value and, for categories, an invented one in each feature, and notes what the model takes."""
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
        replace(feature, accepts_missing=takes(feature, None), accepts_unseen=takes(feature, _invented(feature)))
        for feature in profile.categorical
    )
    return replace(profile, numeric=numeric, categorical=categorical)


def compare(served: Any, model: Any, profile: ReferenceProfile, sample: pd.DataFrame) -> None:
    """Holds what the service would answer to what the estimator says, all rows at once and some alone.

    served: the model as it is read back from a bundle; model: the fitted estimator.
    Raises BundleError that names the step whose output differs.
    """
    predictor = Predictor(served, profile)
    rows = sample_rows(sample, profile)
    together = predictor.predict(sample_columns(rows, profile))
    if not _equal(together, _said_by(model, sample, profile)):
        ours = FrameBuilder(profile).build(sample_columns(rows, profile))
        where = _first_difference(served, ours, model, sample)
        raise BundleError(f"the service would predict otherwise than the model on the sample rows; {where}")
    is_single = any(feature.dtype == "float32" for feature in profile.numeric)
    tolerance = SINGLE_TOLERANCE if is_single else ALONE_TOLERANCE
    largest = float(np.max(np.abs(together.values), initial=0.0)) if together.values is not None else 1.0
    for row in range(min(SINGLE_ROWS, len(sample))):
        alone = predictor.predict(sample_columns(rows[row : row + 1], profile))
        if not _equal(alone, together.part(row, row + 1), tolerance, tolerance * largest):
            where = _first_difference(model, sample.iloc[[row]], model, sample, slice(row, row + 1))
            raise BundleError(f"a row alone is predicted otherwise than the same row among others; {where}")


def _invented(feature: CategoricalFeature) -> Value:
    known = set(category_values(feature, (*feature.categories, *feature.others)))
    if feature.dtype == "str":
        return _INVENTED
    if feature.dtype == "bool":
        return next((value for value in (False, True) if value not in known), False)
    return max((float(value) for value in known), default=0) + 1


def _values(column: "pd.Series[Any]", feature: Feature) -> Iterator[Value | None]:
    if isinstance(feature, NumericFeature):
        as_sent = {"bool": bool, "int64": int}.get(feature.dtype, float)
        return (None if pd.isna(value) else as_sent(value) for value in column.tolist())
    return (None if pd.isna(value) else value for value in column.astype(object).tolist())


def _said_by(model: Any, sample: pd.DataFrame, profile: ReferenceProfile) -> Prediction:
    x = sample.to_numpy() if takes_arrays(model) else sample
    if profile.task == "regression":
        return Prediction(None, None, np.asarray(model.predict(x), dtype=np.float64).reshape(-1))
    probabilities = np.asarray(model.predict_proba(x), dtype=np.float64) if profile.scores else None
    return Prediction(pd.Index(model.classes_).get_indexer(pd.Index(model.predict(x))), probabilities)


def _equal(ours: Prediction, theirs: Prediction, share: float = TOLERANCE, gap: float = TOLERANCE) -> bool:
    if ours.codes() != theirs.codes():
        return False
    pairs = ((ours.probabilities, theirs.probabilities), (ours.values, theirs.values))
    return all(
        a is b is None or (a is not None and b is not None and np.allclose(a, b, share, gap, equal_nan=True))
        for a, b in pairs
    )


def _first_difference(served: Any, ours: Any, model: Any, theirs: Any, rows: slice = slice(None)) -> str:
    """The step whose output differs; rows: which rows of theirs ours are compared with."""
    if not isinstance(model, Pipeline):
        return f"{type(model).__name__} gives another value each time, or depends on what the service cannot send"
    for (name, step), (_, other) in zip(served.steps[:-1], model.steps[:-1], strict=True):
        if step is None or step == "passthrough":
            continue
        ours, theirs = step.transform(ours), other.transform(theirs)
        if not _same_output(ours, theirs, rows):
            return f"the step {name!r} ({type(step).__name__}) makes other columns of the same rows"
    name, last = model.steps[-1]
    return f"the step {name!r} ({type(last).__name__}) says otherwise for the same columns"


def _same_output(ours: Any, theirs: Any, rows: slice) -> bool:
    ours, theirs = _dense(ours), _dense(theirs)[rows]
    if ours.shape != theirs.shape:
        return False
    try:
        return np.allclose(ours.astype(float), theirs.astype(float), TOLERANCE, TOLERANCE, equal_nan=True)
    except (TypeError, ValueError):
        return bool(((ours == theirs) | (pd.isna(ours) & pd.isna(theirs))).all())


def _dense(output: Any) -> NDArray[Any]:
    return np.asarray(output.toarray() if hasattr(output, "toarray") else output)
