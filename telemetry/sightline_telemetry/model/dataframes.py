"""DataFrames as a recorder counts them: columns become float64 and codes, a column at a time and no row by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sightline_telemetry.model.counts import Codes, Floats
from sightline_telemetry.model.profile import (
    CategoricalFeature,
    NumericFeature,
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
    profile_values,
)
from sightline_telemetry.model.recorder import Rows


class FrameReader:
    """Reads DataFrames against the vocabulary of a profile, and what a model predicted for them."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self._profile = profile
        self._vocabularies = [feature.vocabulary() for feature in profile.categorical]
        self._outcomes = {outcome: code for code, outcome in enumerate(profile.outcomes)}

    def rows(self, data: pd.DataFrame, predicted: Any, probabilities: Any = None) -> Rows:
        """The rows of (n_rows, n_columns) data, columns in any order, those that are no features left out.

        predicted: (n_rows,) labels as the model says them, or numbers in regression.
        probabilities: (n_rows, n_outcomes) in the order of the profile's outcomes; None from a model without them.
        Raises ValueError or KeyError for what does not fit the profile.
        """
        columns = [data[feature.name] for feature in self._profile.numeric]
        numeric = np.empty((len(columns), len(data)))
        for row, column in enumerate(columns):
            numeric[row] = numbers(column)
        codes = np.empty((len(self._vocabularies), len(data)), dtype=np.intp)
        for row, (feature, vocabulary) in enumerate(zip(self._profile.categorical, self._vocabularies, strict=True)):
            codes[row] = category_codes(data[feature.name], vocabulary)
        rows = Rows(numeric, codes, *self.outputs(predicted, probabilities))
        said = rows.outcomes if rows.outcomes is not None else rows.values
        if said is None or len(said) != len(data):
            raise ValueError(f"there are {len(data)} rows and {len(np.asarray(predicted))} predictions")
        return rows

    def outputs(self, predicted: Any, probabilities: Any = None) -> tuple[Codes | None, Floats | None, Floats | None]:
        """Outcomes, probabilities and values as Rows has them."""
        if self._profile.task == "regression":
            return None, None, np.asarray(predicted, dtype=np.float64).reshape(-1)
        positions, found = pd.factorize(np.asarray(predicted).reshape(-1))
        codes = np.array([self._outcomes.get(str(each), -1) for each in found] + [-1], dtype=np.intp)[positions]
        if codes.size and codes.min() < 0:
            stranger = np.asarray(predicted).reshape(-1)[int(codes.argmin())]
            raise ValueError(
                f"the model predicted {str(stranger)!r}, and its profile knows {', '.join(self._outcomes)}"
            )
        if probabilities is None or not self._profile.scores:
            return codes, None, None
        likely = np.asarray(probabilities, dtype=np.float64)
        if likely.shape != (len(codes), len(self._outcomes)):
            raise ValueError(f"probabilities are {likely.shape}, not {(len(codes), len(self._outcomes))}")
        return codes, likely, None


def numbers(column: "pd.Series[Any]") -> Floats:
    """(n_rows,) float64, NaN where missing; not copied if it is that already."""
    return column.to_numpy(np.float64, na_value=np.nan)


def category_codes(column: "pd.Series[Any]", vocabulary: Mapping[Any, int]) -> Codes:
    """(n_rows,) codes of a feature's labels; only the values that differ are looked up."""
    missing = vocabulary[None]
    positions, found = pd.factorize(column)  # -1 where missing, which indexes the last
    codes: Codes = np.array([vocabulary.get(each, missing - 1) for each in found] + [missing], dtype=np.intp)[positions]
    return codes


def profile_frame(
    data: pd.DataFrame,
    labels: Any,
    predicted: Any,
    probabilities: Any = None,
    *,
    classes: Sequence[Any] | None = None,
    imputed_by: Mapping[str, str] | None = None,
) -> ReferenceProfile:
    """Profiles training data, labels and a model's predictions for them, of whatever library the model is.

    data: (n_rows, n_features); labels, predicted: (n_rows,) as the model says them; floats mean a regression.
    probabilities: (n_rows, n_classes), None from a model without them.
    classes: their order in probabilities; sorted labels, as in scikit-learn, if not given.
    imputed_by: feature -> how the model fills in what is missing (`median`, `constant`, ...).
    """
    methods = imputed_by or {}
    numeric: list[NumericFeature] = []
    categorical: list[CategoricalFeature] = []
    for name in map(str, data.columns):
        if pd.api.types.is_numeric_dtype(data[name]):
            numeric.append(profile_numeric(name, numbers(data[name]), methods.get(name)))
        else:
            words = [None if pd.isna(value) else str(value) for value in data[name].astype(object).tolist()]
            categorical.append(profile_categorical(name, words, methods.get(name)))
    return ReferenceProfile(
        order=tuple(map(str, data.columns)),
        numeric=tuple(numeric),
        categorical=tuple(categorical),
        **_profile_outputs(np.asarray(labels).reshape(-1), np.asarray(predicted).reshape(-1), probabilities, classes),
    )


def _profile_outputs(labels: Any, predicted: Any, probabilities: Any, classes: Sequence[Any] | None) -> dict[str, Any]:
    if probabilities is None and classes is None and np.issubdtype(predicted.dtype, np.floating):
        return profile_values(predicted.astype(np.float64), labels.astype(np.float64))
    known = np.unique(labels).tolist() if classes is None else list(classes)
    index = pd.Index(known)
    codes, truths = index.get_indexer(pd.Index(predicted)), index.get_indexer(pd.Index(labels))
    if (codes < 0).any() or (truths < 0).any():
        raise ValueError(f"a label or a prediction is none of the classes {', '.join(map(str, known))}")
    likely = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    return profile_outcomes([str(each) for each in known], codes, truths, likely)
