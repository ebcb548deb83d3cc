"""Reads counts as tests compare them: by instrument, then by the attributes that a series has beside its model's."""

from dataclasses import dataclass
from typing import Any

import pytest

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.series import MetricAttributes, SeriesTable
from sightline_telemetry.instruments import FEATURE_CATEGORIES, FEATURE_OUT_OF_RANGE, PREDICTIONS, Instrument
from sightline_telemetry.measurement import Measurement
from sightline_telemetry.model.histogram import Snapshot
from sightline_telemetry.requests.request_kind import RequestKind


@dataclass(frozen=True)
class Counted:
    """Counts and the table that they belong to."""

    table: SeriesTable
    counts: Counts

    def numbers(self, instrument: Instrument) -> dict[Any, int]:
        """The numbers of a counter, by the only attribute that tells its series apart, or by all of them."""
        return {
            _key(series.attributes): value
            for series, value in self.counts.numbers(self.table)
            if series.instrument == instrument
        }

    def histograms(self, instrument: Instrument) -> dict[Any, Snapshot]:
        """The series of a histogram, by the same keys."""
        return {
            _key(series.attributes): snapshot
            for series, snapshot in self.counts.histograms(self.table)
            if series.instrument == instrument
        }

    def rows(self) -> int:
        """The rows predicted."""
        return sum(self.numbers(PREDICTIONS).values())

    def categories(self) -> dict[str, dict[str, int]]:
        """The rows of categorical inputs, by feature and by category."""
        found: dict[str, dict[str, int]] = {}
        for (feature, category), count in self.numbers(FEATURE_CATEGORIES).items():
            found.setdefault(feature, {})[category] = count
        return found

    def out_of_range(self) -> dict[str, tuple[int, int]]:
        """The inputs under the minimum and over the maximum of training, by feature."""
        sides = self.numbers(FEATURE_OUT_OF_RANGE)
        return {name: (sides[name, "low"], sides[name, "high"]) for name in dict.fromkeys(name for name, _ in sides)}

    def durations(self) -> dict[RequestKind, Snapshot]:
        """The durations of requests by kind; only kinds that were counted."""
        return {kind: snapshot for kind, snapshot in self.counts.durations(self.table) if snapshot.count}

    def requests(self) -> dict[RequestKind, int]:
        """The requests counted, by kind."""
        return {kind: snapshot.count for kind, snapshot in self.durations().items()}


def counted_by(measure: Measurement) -> Counted:
    """What a measurement has counted so far."""
    observer = measure._process.observer  # noqa: SLF001  # a scrape has all of it too, but takes long to parse
    return Counted(observer.table, observer.counts)


def assert_alike(one: Counts, two: Counts) -> None:
    """Fails unless both are the same counts, kinds in any order; sums may differ as sums of floats do."""
    assert one.digest == two.digest
    assert set(one.kinds) == set(two.kinds)
    aligned = two._with_kinds(one.kinds)  # noqa: SLF001
    assert one.integers.tolist() == aligned.integers.tolist()
    assert one.sums.tolist() == pytest.approx(aligned.sums.tolist(), rel=1e-9, abs=1e-6)


def _key(attributes: MetricAttributes) -> Any:
    values = tuple(value for name, value in attributes.items() if name not in ("model.name", "model.version"))
    return values[0] if len(values) == 1 else values
