"""Describes the training data and the training predictions in a ReferenceProfile, with frozen edges.

The edges never move after training: the service counts with them, and drift is computed bin by bin.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline_telemetry.instruments import MISSING, OTHER, UNSEEN
from sightline_telemetry.model.histogram import Bins, Floats, Snapshot

N_BINS = 10
"""Deciles: of 5, 10, 20 and 40 bins only 5 have more power at 300 rows per window, but are coarser in the tails."""

SCORE_BOUNDS = tuple(round(0.05 * i, 2) for i in range(1, 21))

MAX_CATEGORIES = 200
"""Largest number of categories per feature with a series of their own; rarer ones are counted together."""

Task = Literal["binary", "multiclass", "regression"]
NumericType = Literal["float64", "float32", "int64", "bool"]
CategoryType = Literal["str", "int64", "float64", "bool"]

_READ: dict[CategoryType, Callable[[str], Any]] = {"str": str, "int64": int, "float64": float, "bool": "True".__eq__}


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """Describes a numeric input: (n_bounds,) edges, and the training rows in each of their n_bounds + 1 bins.

    dtype: the type that the estimator was fitted on. Booleans count as 0 and 1; requests may send `false` and `true`.
    """

    name: str
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    minimum: float
    maximum: float
    median: float
    missing: int
    imputed_by: str | None
    dtype: NumericType = "float64"
    accepts_missing: bool = True


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """Describes a categorical input: its training categories, most frequent first, and the training rows of each.

    others: known categories beyond the MAX_CATEGORIES most frequent, counted together; other_count: their rows.
    singletons: number of categories seen once in training, including those in `others`.
    dtype: the type of the values, which are stored here as strings.
    levels: the categories in pandas' order, if the estimator was fitted on a column of dtype `category`.
    none_is_missing: missing values were None in training, not NaN; encoders distinguish the two.
    """

    name: str
    categories: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int
    imputed_by: str | None
    accepts_missing: bool = True
    accepts_unseen: bool = True
    others: tuple[str, ...] = ()
    other_count: int = 0
    singletons: int = 0
    dtype: CategoryType = "str"
    levels: tuple[str, ...] | None = None
    none_is_missing: bool = False

    @property
    def series_values(self) -> tuple[str, ...]:
        """Returns the values of `category` in its series, in the order of their codes.

        They are the categories, others (if there are any), unseen and missing.
        """
        return (*self.categories, *((OTHER,) if self.others else ()), UNSEEN, MISSING)

    @property
    def series_counts(self) -> tuple[int, ...]:
        """Returns the training rows of each value of its series; those of `unseen` are 0."""
        return (*self.counts, *((self.other_count,) if self.others else ()), 0, self.missing)

    def values(self, categories: Iterable[str]) -> list[Any]:
        """Converts categories to values of their dtype, as a client sends them and the estimator receives them."""
        return list(map(_READ[self.dtype], categories))

    def vocabulary(self) -> dict[Any, int]:
        """Returns the code of each known category, as a value of its dtype, and of None; other values are unseen."""
        codes: dict[Any, int] = {value: code for code, value in enumerate(self.values(self.categories))}
        codes |= dict.fromkeys(self.values(self.others), len(self.categories))
        codes[None] = len(self.series_values) - 1
        return codes


Feature = NumericFeature | CategoricalFeature


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """Holds the histogram of P(class) over the training rows, on SCORE_BOUNDS."""

    outcome: str
    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class ValueDistribution:
    """Holds a histogram of regression values in training: (n_bounds,) edges, the rows in their n_bounds + 1 bins."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class DriftFloors:
    """Holds the normal variation between windows of the training data: feature -> statistic -> value.

    Statistics are `ks` and `psi` of numeric features, as `sightline_telemetry.model.drift` defines them.
    """

    window_s: int
    n_windows: int
    features: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """Holds all that serving and drift need from the training data; it contains no training row."""

    task: Task
    n_rows: int
    order: tuple[str, ...]
    """Names of the features in the order of the training data."""
    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    outcomes: tuple[str, ...] = ()
    predicted: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    scores: tuple[ScoreDistribution, ...] = ()
    predicted_values: ValueDistribution | None = None
    """Set for a regression, whose `outcomes`, `predicted`, `labels` and `scores` are empty; otherwise None."""
    label_values: ValueDistribution | None = None
    """Set for a regression: y_train on the bounds of `predicted_values`; otherwise None."""
    floors: DriftFloors | None = None
    """None if the training data had no time column."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """Returns the numeric features, then the categorical ones."""
        return (*self.numeric, *self.categorical)

    @property
    def scored(self) -> tuple[tuple[int, str], ...]:
        """Returns index and name of each outcome whose probability is measured: of two only the second (positive).

        Empty if the model has no probabilities.
        """
        if not self.scores:
            return ()
        scored = tuple(enumerate(self.outcomes))
        return scored[1:] if self.task == "binary" else scored


def assemble_profile(features: Iterable[Feature], outputs: Mapping[str, Any]) -> ReferenceProfile:
    """Returns the profile of features, in the order of the training data, and the fields on predictions and labels."""
    listed = list(features)
    return ReferenceProfile(
        order=tuple(feature.name for feature in listed),
        numeric=tuple(feature for feature in listed if isinstance(feature, NumericFeature)),
        categorical=tuple(feature for feature in listed if isinstance(feature, CategoricalFeature)),
        **outputs,
    )


def profile_numeric(name: str, values: Floats, imputed_by: str | None = None) -> NumericFeature:
    """Profiles one numeric column, (n_rows,) float64 with NaN where missing.

    Edges are the inner deciles of the finite values.
    """
    present = values[np.isfinite(values)]
    bounds = deciles(present)
    (seen,) = _binned(bounds, present[np.newaxis])
    return NumericFeature(
        name=name,
        bounds=bounds,
        counts=tuple(seen.counts),
        sum=seen.sum,
        minimum=float(present.min()) if len(present) else 0.0,
        maximum=float(present.max()) if len(present) else 0.0,
        median=float(np.median(present)) if len(present) else 0.0,
        missing=int(np.isnan(values).sum()),
        imputed_by=imputed_by,
    )


def profile_categorical(
    name: str, values: Iterable[str | None], imputed_by: str | None = None, known: Iterable[str] = ()
) -> CategoricalFeature:
    """Profiles one categorical column, (n_rows,) strings with None where missing.

    known: further categories that the model knows; they come last, with no rows.
    Raises ValueError for a category that equals one of the reserved label values.
    """
    column = list(values)
    if reserved := {MISSING, OTHER, UNSEEN}.intersection(column):
        raise ValueError(f"feature {name!r} has the category {reserved.pop()!r}, which is reserved for other rows")
    present = np.array([value for value in column if value is not None], dtype=np.str_)
    categories, counts = np.unique(present, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    seen = [str(category) for category in categories[order]]
    vocabulary = tuple(dict.fromkeys([*seen, *known]))
    ordered = [*counts[order].tolist(), *[0] * (len(vocabulary) - len(seen))]
    return CategoricalFeature(
        name=name,
        categories=vocabulary[:MAX_CATEGORIES],
        counts=tuple(ordered[:MAX_CATEGORIES]),
        missing=len(column) - len(present),
        imputed_by=imputed_by,
        others=vocabulary[MAX_CATEGORIES:],
        other_count=sum(ordered[MAX_CATEGORIES:]),
        singletons=int((counts == 1).sum()),
    )


def profile_outcomes(
    outcomes: Sequence[str], codes: NDArray[np.intp], labels: NDArray[np.intp], probabilities: Floats | None
) -> dict[str, Any]:
    """Returns the profile's fields on predictions and labels of a classification.

    codes, labels: (n_rows,) indices into outcomes; probabilities: (n_rows, n_outcomes), None if the model has none.
    """
    task: Task = "binary" if len(outcomes) == 2 else "multiclass"
    scores = []
    for index, outcome in enumerate(outcomes):
        if probabilities is None or (task == "binary" and index == 0):
            continue
        (seen,) = _binned(SCORE_BOUNDS, probabilities[np.newaxis, :, index])
        scores.append(ScoreDistribution(outcome, tuple(seen.counts), seen.sum))
    return {
        "task": task,
        "n_rows": len(codes),
        "outcomes": tuple(outcomes),
        "predicted": tuple(np.bincount(codes, minlength=len(outcomes)).tolist()),
        "labels": tuple(np.bincount(labels, minlength=len(outcomes)).tolist()),
        "scores": tuple(scores),
    }


def profile_values(predicted: Floats, labels: Floats) -> dict[str, Any]:
    """Returns the profile's fields on (n_rows,) predictions and labels of a regression, on the predictions' deciles."""
    bounds = deciles(predicted)
    (seen,), (known,) = _binned(bounds, predicted[np.newaxis]), _binned(bounds, labels[np.newaxis])
    return {
        "task": "regression",
        "n_rows": len(predicted),
        "predicted_values": ValueDistribution(bounds, tuple(seen.counts), seen.sum),
        "label_values": ValueDistribution(bounds, tuple(known.counts), known.sum),
    }


def deciles(values: Floats) -> tuple[float, ...]:
    """Returns the inner deciles of (n_values,) finite values, rounded to six digits; equal ones are merged."""
    if not len(values):
        return ()
    quantiles = np.quantile(values, np.arange(1, N_BINS) / N_BINS)
    return tuple(sorted({float(f"{quantile:.6g}") for quantile in quantiles}))


def _binned(bounds: tuple[float, ...], values: Floats) -> list[Snapshot]:
    return Bins([bounds]).snapshots(values)
