"""A fitted classifier and its training data become a bundle: profiled, probed, and compared with the estimator."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from service.bundle import Bundle, SampleRow
from service.columns import ColumnBuilder, Columns
from service.errors import BundleError, SightlineError
from service.pipeline import imputation_methods
from service.predictor import Predictor
from service.schema import InstanceReader
from telemetry.profile import (
    CategoricalFeature,
    Feature,
    NumericFeature,
    NumericType,
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
)

SAMPLE_ROWS = 200
_INVENTED = "a category that nobody has seen"


def make_bundle(model: Any, data: pd.DataFrame, labels: pd.Series, name: str, version: str) -> Bundle:
    """Profiles the training data of a fitted classifier and bundles both.

    data: (n_rows, n_features) as the model was fitted on; labels: (n_rows,) y_train.
    Raises BundleError if the service would predict otherwise than the model.
    """
    profile = profile_training(model, data, labels)
    sample = shuffled_sample(data, profile)
    profile = _probed(model, profile, sample)
    _compare(model, profile, sample)
    return Bundle(name, version, model, profile, sample)


def profile_training(model: Any, data: pd.DataFrame, labels: pd.Series) -> ReferenceProfile:
    """What the training data, the labels and the model's predictions for them look like."""
    for needed in ("classes_", "predict_proba"):
        if not hasattr(model, needed):
            raise BundleError(f"{type(model).__name__} has no {needed}: only fitted classifiers with it can be bundled")
    if nameless := [name for name in data.columns if not isinstance(name, str)]:
        raise BundleError(f"the column {nameless[0]!r} has no name; fit on a DataFrame whose columns are strings")
    methods = imputation_methods(model, data.columns)
    numeric, categorical = [], []
    for name in data.columns:
        column = data[name]
        if pd.api.types.is_numeric_dtype(column):
            feature = profile_numeric(name, column.to_numpy(np.float64, na_value=np.nan), methods.get(name))
            numeric.append(replace(feature, dtype=_numeric_type(column)))
        else:
            categorical.append(profile_categorical(name, _strings(column), methods.get(name)))
    classes = np.asarray(model.classes_)
    return ReferenceProfile(
        order=tuple(data.columns),
        numeric=tuple(numeric),
        categorical=tuple(categorical),
        **profile_outcomes(
            [str(each) for each in classes],
            np.searchsorted(classes, model.predict(data)),
            np.searchsorted(classes, labels.to_numpy()),
            model.predict_proba(data),
        ),
    )


def shuffled_sample(data: pd.DataFrame, profile: ReferenceProfile) -> tuple[SampleRow, ...]:
    """Rows to try a model with; each column is drawn by itself, so that no row of the training data leaves."""
    generator = np.random.default_rng(0)
    n_rows = min(SAMPLE_ROWS, len(data))
    columns: dict[str, list[Any]] = {}
    for feature in profile.features:
        drawn = data[feature.name].iloc[generator.choice(len(data), n_rows, replace=False)]
        is_numeric = isinstance(feature, NumericFeature)
        columns[feature.name] = [None if pd.isna(v) else float(v) if is_numeric else str(v) for v in drawn]
    return tuple({name: values[row] for name, values in columns.items()} for row in range(n_rows))


def sample_columns(sample: tuple[SampleRow, ...], profile: ReferenceProfile) -> Columns:
    """Sample rows on the way that a request takes: JSON, structs, columns."""
    reader = InstanceReader(profile, max_rows=len(sample))
    return ColumnBuilder(profile, reader.fields).build(reader.read(msgspec.json.encode({"instances": sample})))


def _probed(model: Any, profile: ReferenceProfile, sample: tuple[SampleRow, ...]) -> ReferenceProfile:
    """Tries a missing value and, for categories, an invented one in each feature, and notes what the model takes."""
    predictor = Predictor(model, profile)

    def takes(feature: Feature, value: str | None) -> bool:
        columns = sample_columns(({**sample[0], feature.name: value},), profile)
        try:
            predictor.predict(columns)
        except SightlineError:
            return False
        return True

    numeric = tuple(replace(feature, accepts_missing=takes(feature, None)) for feature in profile.numeric)
    categorical: tuple[CategoricalFeature, ...] = tuple(
        replace(feature, accepts_missing=takes(feature, None), accepts_unseen=takes(feature, _INVENTED))
        for feature in profile.categorical
    )
    return replace(profile, numeric=numeric, categorical=categorical)


def _compare(model: Any, profile: ReferenceProfile, sample: tuple[SampleRow, ...]) -> None:
    ours = Predictor(model, profile).predict(sample_columns(sample, profile))
    data = pd.DataFrame(list(sample), columns=list(profile.order))
    data = data.astype({feature.name: np.float64 for feature in profile.numeric})
    labels, probabilities = model.predict(data), model.predict_proba(data)
    same = ours.outcomes is not None and np.array_equal(np.asarray(model.classes_)[ours.outcomes], labels)
    if not same or not np.allclose(ours.probabilities, probabilities, rtol=0, atol=1e-12):  # type: ignore[arg-type]
        raise BundleError("the service would predict otherwise than the model itself on the sample rows; not bundled")


def _numeric_type(column: "pd.Series[Any]") -> NumericType:
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    if pd.api.types.is_integer_dtype(column):
        return "int64"
    return "float32" if column.dtype == np.float32 else "float64"


def _strings(column: "pd.Series[Any]") -> list[str | None]:
    return [None if pd.isna(value) else str(value) for value in column]
