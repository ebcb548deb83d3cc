"""What went into a model, in counts: values, categories, what was missing, imputed or out of range."""

from collections.abc import Sequence

from sightline_telemetry.model.counts import BucketTable, Codes, Floats, Snapshot, Tallies
from sightline_telemetry.model.profile import NumericFeature, ReferenceProfile


class InputCounts:
    """Counts of a model's inputs against the edges and the vocabulary of its profile."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self._profile = profile
        bounds = [feature.bounds for feature in profile.numeric]
        self._values = BucketTable(bounds, [_range(feature) for feature in profile.numeric])
        self._categories = Tallies([len(feature.labels) for feature in profile.categorical])

    def add_numeric(self, values: Floats, members: Sequence[int] | None = None) -> None:
        """Counts (n_features, n_rows) values, NaN where missing; members: which numeric features, all without it."""
        if len(values):
            self._values.add(values, members)

    def add_codes(self, codes: Codes, members: Sequence[int] | None = None) -> None:
        """Counts (n_features, n_rows) codes of labels; members: which categorical features, all without it."""
        if len(codes):
            self._categories.add(codes, members)

    def values(self) -> dict[str, Snapshot]:
        """Numeric inputs by feature."""
        return dict(zip(self._numeric_names(), self._values.read(), strict=True))

    def out_of_range(self) -> dict[str, tuple[int, int]]:
        """Numeric inputs under the minimum and over the maximum of training, by feature.

        A feature that had no value in training has no range to be out of.
        """
        return dict(zip(self._numeric_names(), self._values.outside(), strict=True))

    def categories(self) -> dict[str, dict[str, int]]:
        """Categorical inputs by feature and label."""
        features = self._profile.categorical
        return {
            feature.name: dict(zip(feature.labels, counts, strict=True))
            for feature, counts in zip(features, self._categories.read(), strict=True)
        }

    def missing(self) -> dict[str, int]:
        """Missing inputs by feature, numeric ones first."""
        counts = self._values.missing() + [counts[-1] for counts in self._categories.read()]
        return dict(zip((feature.name for feature in self._profile.features), counts, strict=True))

    def imputed(self) -> dict[tuple[str, str], int]:
        """Inputs that an imputer filled in, by feature and method: those that were missing, and no others.

        An infinite number is not missing, and neither is a category that training did not know.
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
