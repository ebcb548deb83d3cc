"""Counts what a model received: values, categories, and what was missing, imputed or out of range."""

from collections.abc import Sequence

from sightline_telemetry.model.counts import BucketTable, Codes, Floats, Snapshot, Tallies
from sightline_telemetry.model.profile import NumericFeature, ReferenceProfile


class InputCounts:
    """Counts a model's inputs by the edges and the vocabulary of its profile."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self._profile = profile
        bounds = [feature.bounds for feature in profile.numeric]
        self._values = BucketTable(bounds, [_range(feature) for feature in profile.numeric])
        self._categories = Tallies([len(feature.labels) for feature in profile.categorical])

    def add_numeric(self, values: Floats, members: Sequence[int] | None = None) -> None:
        """Counts (n_features, n_rows) values, NaN where missing. members: indices of numeric features; None for all."""
        if len(values):
            self._values.add(values, members)

    def add_codes(self, codes: Codes, members: Sequence[int] | None = None) -> None:
        """Counts (n_features, n_rows) codes of labels. members: indices of categorical features; None for all."""
        if len(codes):
            self._categories.add(codes, members)

    def values(self) -> dict[str, Snapshot]:
        """Returns the histogram of the numeric inputs per feature."""
        return dict(zip(self._numeric_names(), self._values.read(), strict=True))

    def out_of_range(self) -> dict[str, tuple[int, int]]:
        """Returns how many numeric inputs were under the minimum and over the maximum of training, per feature.

        A feature without a value in training has no range, so both counts are 0.
        """
        return dict(zip(self._numeric_names(), self._values.outside(), strict=True))

    def categories(self) -> dict[str, dict[str, int]]:
        """Returns the rows of categorical inputs per feature and label."""
        features = self._profile.categorical
        return {
            feature.name: dict(zip(feature.labels, counts, strict=True))
            for feature, counts in zip(features, self._categories.read(), strict=True)
        }

    def missing(self) -> dict[str, int]:
        """Returns the missing inputs per feature, numeric features first."""
        counts = self._values.missing() + [counts[-1] for counts in self._categories.read()]
        return dict(zip((feature.name for feature in self._profile.features), counts, strict=True))

    def imputed(self) -> dict[tuple[str, str], int]:
        """Returns how many inputs an imputer filled in, per feature and method: exactly the missing ones.

        An infinite number is not missing, and neither is a category that is unseen in training.
        """
        missing = self.missing()
        return {
            (feature.name, feature.imputed_by): missing[feature.name]
            for feature in self._profile.features
            if feature.imputed_by is not None
        }

    def _numeric_names(self) -> list[str]:
        return [feature.name for feature in self._profile.numeric]


def _range(feature: NumericFeature) -> tuple[float, float] | None:
    return (feature.minimum, feature.maximum) if sum(feature.counts) else None
