"""Measures what was normal from window to window of the training data: the drift floors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sightline_telemetry.model import drift
from sightline_telemetry.model.column_values import category_codes, numbers
from sightline_telemetry.model.profile import DriftFloors, Feature, NumericFeature, ReferenceProfile

WINDOW_H = 24
"""Hours: traffic mostly has a daily shape, and over a whole day it evens out."""

MIN_WINDOWS = 10
"""With fewer the 99th percentile would be the largest of a handful."""

Statistic = Callable[[NDArray[np.intp], NDArray[np.intp]], float]

_NUMERIC: dict[str, Statistic] = {"ks": drift.ks_distance, "psi": drift.psi}
_CATEGORICAL: dict[str, Statistic] = {"share": drift.largest_share_change}


@dataclass(frozen=True, slots=True)
class RowTimes:
    """When each training row was, (n_rows,) datetimes, and the length of a window of drift in seconds."""

    times: "pd.Series[Any]"
    window_s: int

    def indices(self) -> NDArray[np.intp]:
        """Returns the window of each row, counted from the first row on; -1 in the last one, which may be cut short."""
        since_first = (self.times - self.times.min()).dt.total_seconds().to_numpy()
        windows: NDArray[np.intp] = (since_first // self.window_s).astype(np.intp)
        windows[windows == windows.max()] = -1
        return windows


def drift_floors(profile: ReferenceProfile, data: pd.DataFrame, times: RowTimes) -> DriftFloors | None:
    """Returns the floors of all features with enough rows per window; None if no feature has.

    A floor lies a tenth above the 99th percentile of a statistic over the windows, each against all training rows.
    """
    windows = times.indices()
    n_windows = len(np.unique(windows[windows >= 0]))
    features = {feature.name: _floors(feature, data[feature.name], windows) for feature in profile.features}
    known = {name: floors for name, floors in features.items() if floors}
    return DriftFloors(times.window_s, n_windows, known) if known else None


def _floors(feature: Feature, column: "pd.Series[Any]", windows: NDArray[np.intp]) -> dict[str, float]:
    is_numeric = isinstance(feature, NumericFeature)
    # Unseen and missing categories, the last two labels, are in no bin.
    reference = np.array(feature.counts if isinstance(feature, NumericFeature) else feature.series_counts[:-2])
    least = drift.ROWS_PER_BIN * len(reference) if is_numeric else drift.MIN_CATEGORY_ROWS
    counts = [window for window in _by_window(feature, column, windows, len(reference)) if window.sum() >= least]
    if len(counts) < MIN_WINDOWS or len(reference) < 2:
        return {}
    statistics = _NUMERIC if is_numeric else _CATEGORICAL
    return {name: drift.drift_floor([measure(reference, c) for c in counts]) for name, measure in statistics.items()}


def _by_window(
    feature: Feature, column: "pd.Series[Any]", windows: NDArray[np.intp], n_bins: int
) -> Iterator[NDArray[np.intp]]:
    """Counts of each window, (n_bins,); rows in no window, and missing values, are in none."""
    bins = _bins(feature, column)
    is_counted = (windows >= 0) & (bins >= 0)
    codes = windows[is_counted] * n_bins + bins[is_counted]
    yield from np.bincount(codes, minlength=(windows.max() + 1) * n_bins).reshape(-1, n_bins)


def _bins(feature: Feature, column: "pd.Series[Any]") -> NDArray[np.intp]:
    """The bin or the code of each value; -1 where it is missing."""
    if isinstance(feature, NumericFeature):
        values = numbers(column)
        return np.where(np.isnan(values), -1, np.searchsorted(feature.bounds, values, side="left"))
    codes = category_codes(column, feature.vocabulary())
    return np.where(codes < len(feature.series_values) - 2, codes, -1)
