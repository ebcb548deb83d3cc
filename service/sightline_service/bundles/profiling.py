"""Makes a bundle of a fitted estimator and its training data: profiled, verified, compared with the estimator."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sightline_service.bundles.bundle import Bundle, read_back
from sightline_service.bundles.drift_floors import RowTimes, drift_floors
from sightline_service.bundles.verification import compare, sample_by_column, sample_rows, with_probed_capabilities
from sightline_service.errors import BundleError, PredictionFailedError, RequestError
from sightline_service.prediction.inspection import feature_names, takes_arrays, unwrapped, walk
from sightline_telemetry.estimators import active_steps
from sightline_telemetry.model.dataframes import profile_feature
from sightline_telemetry.model.profile import ReferenceProfile, assemble_profile, profile_outcomes, profile_values


def make_bundle(
    model: Any, data: pd.DataFrame, labels: "pd.Series[Any]", name: str, version: str, times: RowTimes | None = None
) -> Bundle:
    """Profiles the training data of a fitted estimator and bundles both.

    data: (n_rows, n_features) as the model was fitted on; labels: (n_rows,) y_train; times: when the rows were,
    from which the profile learns what was normal from window to window.
    Raises BundleError if the model cannot be served, or would be served otherwise than it predicts.
    """
    model = unwrapped(model)
    check_servable(model, data)
    data = data[feature_names(model) or list(data.columns)]
    profile = profile_training(model, data, labels)
    if times is not None:
        profile = replace(profile, floors=drift_floors(profile, data, times))
    served = _read_back(model)
    sample = sample_by_column(data)
    profile = with_probed_capabilities(served, profile, sample_rows(sample, profile))
    try:
        compare(served, model, profile, sample)
    except (RequestError, PredictionFailedError) as error:
        raise BundleError(f"the service would not answer for rows like those of training: {error}") from error
    return Bundle(name, version, model, profile, sample_rows(sample, profile))


def check_servable(model: Any, data: pd.DataFrame) -> None:
    """Raises BundleError for a model that is not fitted, cannot be served, or was not fitted on such data."""
    if not hasattr(model, "predict") or not (is_classifier(model) or is_regressor(model)):
        raise BundleError(f"{_described(model)} is neither a classifier nor a regressor; only those are served")
    try:
        for _, step in active_steps(model):
            check_is_fitted(step)
        check_is_fitted(model)
    except NotFittedError as error:
        raise BundleError(f"{_described(model)} is not fitted ({shortest(error)}); fit it, then bundle it") from error
    if nameless := [name for name in data.columns if not isinstance(name, str)]:
        raise BundleError(f"the column {nameless[0]!r} has no name; fit on a DataFrame whose columns are strings")
    if twice := data.columns[data.columns.duplicated()].tolist():
        raise BundleError(f"the column {twice[0]!r} is there twice; rename one of them and fit again")
    if data.empty:
        raise BundleError("the training data has no rows, or no features")
    names = feature_names(model)
    if lacking := [name for name in names or () if name not in data.columns]:
        raise BundleError(f"the data lacks columns that the model was fitted on: {', '.join(map(repr, lacking))}")


def profile_training(model: Any, data: pd.DataFrame, labels: "pd.Series[Any]") -> ReferenceProfile:
    """Profiles the training data, the labels and the model's predictions for them."""
    inputs = walk(model, list(data.columns))
    try:
        features = [
            profile_feature(name, data[name], inputs.imputed_by.get(name), inputs.known.get(name))
            for name in data.columns
        ]
    except ValueError as error:
        raise BundleError(str(error)) from error
    outputs = _profile_outputs(model, data.to_numpy() if takes_arrays(model) else data, labels)
    return assemble_profile(features, outputs)


def class_codes(classes: NDArray[Any], labels: "pd.Series[Any]") -> NDArray[np.intp]:
    """Indices of (n_rows,) labels in a classifier's classes; `1` in a file is the class 1, `"1"` and 1.0."""
    codes: NDArray[np.intp] = pd.Index(classes).get_indexer(pd.Index(labels))
    if (codes < 0).any():
        by_text = {str(known): code for code, known in enumerate(classes.tolist())}
        codes = np.array([by_text.get(str(label), -1) for label in labels.tolist()], dtype=np.intp)
    if (codes < 0).any():
        unknown = labels.tolist()[int(np.argmax(codes < 0))]
        known = ", ".join(map(str, classes.tolist()[:10]))
        raise BundleError(f"the target has the value {unknown!r}, and the model knows the classes {known}")
    return codes


def shortest(error: BaseException) -> str:
    """Returns the first sentence of an error, to be quoted in one of ours."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0].rstrip(".")[:300]


def _profile_outputs(model: Any, data: Any, labels: "pd.Series[Any]") -> dict[str, Any]:
    if labels.isna().any():
        raise BundleError(f"the target is missing in {int(labels.isna().sum())} rows; leave them out, as the fit did")
    if labels.nunique() < 2:
        raise BundleError(f"the target has one value only, {labels.tolist()[0]!r}: there is nothing to learn from it")
    predicted = _output_of(model, data, "predict")
    if predicted.size != len(labels):
        raise BundleError(f"{_described(model)} predicts {predicted.shape[1:]} outputs per row; one is served")
    if is_regressor(model):
        if not pd.api.types.is_numeric_dtype(labels):
            raise BundleError(
                f"{_described(model)} is a regressor, and the target has {labels.tolist()[0]!r}, no number"
            )
        values = predicted.astype(np.float64).reshape(-1)
        if not np.isfinite(values).all():
            raise BundleError(f"{_described(model)} predicts values that are not finite for its own training data")
        return profile_values(values, labels.to_numpy(np.float64))
    classes = np.asarray(model.classes_)
    names = [str(each) for each in classes.tolist()]
    if len(set(names)) < len(names):
        raise BundleError(f"two classes of the model have the same name: {', '.join(names)}")
    if not np.array_equal(np.sort(classes), classes):
        raise BundleError(f"the classes of {_described(model)} are in no order: {', '.join(names)}")
    codes = class_codes(classes, pd.Series(predicted))
    probabilities = None
    if hasattr(model, "predict_proba"):
        probabilities = _output_of(model, data, "predict_proba").astype(np.float64)
    return profile_outcomes(names, codes, class_codes(classes, labels), probabilities)


def _output_of(model: Any, data: Any, method: str) -> NDArray[Any]:
    """Returns a model's output for its training data. Raises BundleError with the step that refuses them, and why."""
    try:
        return np.asarray(getattr(model, method)(data))
    except Exception as error:
        name, step = _refusing_step(model, data)
        where = f"the step {name!r} ({type(step).__name__})" if name else _described(model)
        raise BundleError(f"{where} refuses the training data: {shortest(error)}") from error


def _read_back(model: Any) -> Any:
    try:
        return read_back(model)
    except BundleError as error:
        for name, step in active_steps(model):
            try:
                read_back(step)
            except BundleError as reason:
                raise BundleError(f"the step {name!r} ({type(step).__name__}): {reason}") from error
        raise


def _refusing_step(model: Any, data: Any) -> tuple[str | None, Any]:
    steps = active_steps(model)
    for name, step in steps[:-1]:
        try:
            data = step.transform(data)
        except Exception:
            return name, step
    return steps[-1] if steps else (None, model)


def _described(model: Any) -> str:
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return f"the step {name!r} ({type(last).__name__})"
    return type(model).__name__
