"""Data of any form as it is counted, and the profile of training data: one set of rules for both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline_telemetry.model import column_values
from sightline_telemetry.model.histogram import Codes, Floats
from sightline_telemetry.model.profile import (
    Feature,
    ReferenceProfile,
    assemble_profile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
    profile_values,
)
from sightline_telemetry.model.rows import Rows
from sightline_telemetry.model.table import Table, read_table


class FrameReader:
    """Reads data against the vocabulary of a profile, and what a model predicted for them."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self._profile = profile
        self._vocabularies = [feature.vocabulary() for feature in profile.categorical]
        self._outcomes = {outcome: code for code, outcome in enumerate(profile.outcomes)}

    def table(self, data: Any) -> Table:
        """Returns the features in data of any form that `read_table` takes; columns that are not features are left out.

        An array without names has its columns in the order of the profile. Raises what `read_table` raises.
        """
        return read_table(data, self._profile.order)

    def rows(self, table: Table, predicted: Any, probabilities: Any = None) -> Rows:
        """Returns the rows of a table and what the model predicted for them.

        predicted: (n_rows,) labels as the model predicts them, or numbers in regression.
        probabilities: (n_rows, n_outcomes) in the order of the profile's outcomes; None from a model without them.
        Raises ValueError for what does not fit the profile.
        """
        numeric = np.empty((len(self._profile.numeric), table.n_rows))
        for row, feature in enumerate(self._profile.numeric):
            numeric[row] = _numbers(feature.name, table.columns[feature.name])
        codes = np.empty((len(self._vocabularies), table.n_rows), dtype=np.intp)
        for row, (category, vocabulary) in enumerate(zip(self._profile.categorical, self._vocabularies, strict=True)):
            codes[row] = _codes(category.name, table.columns[category.name], vocabulary)
        rows = Rows(numeric, codes, *self.outputs(predicted, probabilities))
        outputs = rows.outcomes if rows.outcomes is not None else rows.values
        if outputs is None or len(outputs) != table.n_rows:
            raise ValueError(f"there are {table.n_rows} rows and {len(np.asarray(predicted))} predictions")
        return rows

    def outputs(self, predicted: Any, probabilities: Any = None) -> tuple[Codes | None, Floats | None, Floats | None]:
        """Returns outcomes, probabilities and values, shaped as Rows has them. Raises ValueError as `rows` does."""
        if self._profile.task == "regression":
            return None, None, np.asarray(predicted, dtype=np.float64).reshape(-1)
        labels = np.asarray(predicted).reshape(-1)
        codes = _class_codes(labels, lambda label: self._outcomes.get(str(label), -1))
        if codes.size and codes.min() < 0:
            unknown = labels[int(codes.argmin())]
            raise ValueError(f"the model predicted {str(unknown)!r}, and its profile knows {', '.join(self._outcomes)}")
        if probabilities is None or not self._profile.scores:
            return codes, None, None
        scores = np.asarray(probabilities, dtype=np.float64)
        if scores.shape != (len(codes), len(self._outcomes)):
            raise ValueError(f"probabilities are {scores.shape}, not {(len(codes), len(self._outcomes))}")
        return codes, scores, None


def profile_frame(
    data: Any,
    labels: Any,
    predicted: Any,
    probabilities: Any = None,
    *,
    classes: Sequence[Any] | None = None,
    imputed_by: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
) -> ReferenceProfile:
    """Profiles training data, labels and a model's predictions for them, of whatever library the model is.

    data: n_rows rows of features: a DataFrame of pandas or polars, a pyarrow Table, a dict of columns, a list of
    dicts, or an array of (n_rows, n_features).
    labels, predicted: (n_rows,) as the model predicts them; floats without probabilities mean a regression.
    probabilities: (n_rows, n_classes), None from a model without them.
    classes: their order in probabilities; sorted labels, as in scikit-learn, if not given.
    imputed_by: feature -> how the model fills in what is missing (`median`, `constant`, ...).
    names: of an array's columns; x0, x1, ... if not given.
    Raises TypeError for data of another form, and ValueError for a column that holds neither numbers, booleans nor
    strings, for lengths that differ, and for a label that is missing or is none of the classes.

    >>> data = {"age": [41, 38, None], "city": ["Bern", "Rome", "Bern"]}
    >>> profile = profile_frame(data, ["no", "yes", "no"], ["no", "yes", "yes"], imputed_by={"age": "median"})
    >>> profile.task, profile.outcomes, profile.labels, profile.predicted
    ('binary', ('no', 'yes'), (2, 1), (1, 2))
    >>> profile.categorical[0].categories, profile.numeric[0].missing
    (('Bern', 'Rome'), 1)
    """
    table, methods = read_table(data, names=names), imputed_by or {}
    features = [profile_feature(name, column, methods.get(name)) for name, column in table.columns.items()]
    truths, outputs = np.asarray(labels).reshape(-1), np.asarray(predicted).reshape(-1)
    if not len(truths) == len(outputs) == table.n_rows:
        raise ValueError(f"there are {table.n_rows} rows, {len(truths)} labels and {len(outputs)} predictions")
    return assemble_profile(features, _profile_outputs(truths, outputs, probabilities, classes))


def profile_feature(
    name: str, column: Any, imputed_by: str | None = None, known: Sequence[str] | None = None
) -> Feature:
    """Profiles one column: as categories if it holds strings or the model encodes it, otherwise as numbers.

    column: (n_rows,) values, a Series of pandas or narwhals, or an array; imputed_by: how the model fills in what is
    missing. known: the categories that the model's encoder knows, None if the model does not encode this column.
    Raises ValueError for values of another type, or of several, and for a category that is a reserved word.
    """
    try:
        held = column_values.value_type(column)
    except ValueError as error:
        advice = "turn its values into numbers, booleans or strings, and fit again"
        raise ValueError(f"the column {name!r} {error}: {advice}") from None
    of_pandas = column_values.levels(column)
    if of_pandas is None and held != "str" and known is None:
        return replace(
            profile_numeric(name, column_values.numbers(column), imputed_by),
            dtype=column_values.numeric_type(column, held),
        )
    return replace(
        profile_categorical(name, column_values.words(column), imputed_by, known or ()),
        dtype=held or "str",
        levels=None if of_pandas is None else tuple(map(str, of_pandas)),
        none_is_missing=column.dtype == object and any(value is None for value in column.tolist()),
    )


def _profile_outputs(
    labels: NDArray[Any], predicted: NDArray[Any], probabilities: Any, classes: Sequence[Any] | None
) -> dict[str, Any]:
    if probabilities is None and classes is None and np.issubdtype(predicted.dtype, np.floating):
        return profile_values(predicted.astype(np.float64), labels.astype(np.float64))
    positions, found = column_values.factorized(labels)
    if (positions < 0).any():
        raise ValueError(f"{int((positions < 0).sum())} labels are missing; leave these rows out, as the fit did")
    known = sorted(found) if classes is None else list(classes)
    code_of = {each: code for code, each in enumerate(known)}
    truths, codes = (_class_codes(values, lambda each: code_of.get(each, -1)) for values in (labels, predicted))
    for values, which in ((labels, truths), (predicted, codes)):
        if (which < 0).any():
            unknown = values[int(which.argmin())]
            raise ValueError(f"{str(unknown)!r} is none of the classes {', '.join(map(str, known))}")
    scores = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    return profile_outcomes([str(each) for each in known], codes, truths, scores)


def _class_codes(labels: NDArray[Any], code_of: Callable[[Any], int]) -> Codes:
    """Returns (n_rows,) codes of labels; -1 where one is missing. code_of is called once per class."""
    positions, found = column_values.factorized(labels)
    codes: Codes = np.array([*map(code_of, found), -1], dtype=np.intp)[positions]
    return codes


def _numbers(name: str, column: Any) -> Floats:
    try:
        return column_values.numbers(column)
    except (TypeError, ValueError) as error:
        value = column_values.first_that_is_no_number(column)
        raise ValueError(
            f"the feature {name!r} has the value {value!r}, and its profile has numbers: "
            "convert the column, or profile the training data again"
        ) from error


def _codes(name: str, column: Any, vocabulary: Mapping[Any, int]) -> Codes:
    try:
        return column_values.category_codes(column, vocabulary)
    except TypeError as error:
        raise ValueError(
            f"the feature {name!r} has values that cannot be categories ({error}): convert the column to strings or "
            "numbers"
        ) from error
