"""What predictions mean in counts: one lock, no loop over rows.

Counting one row in numpy costs as much as counting a hundred, so rows are gathered and counted together; a
reader (export, scrape) counts what is still waiting first, so it sees every finished request.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np

from telemetry.counts import Buckets, BucketTable, Codes, Floats, Snapshot, Tallies
from telemetry.names import BATCH_SIZE_BOUNDS, STEP_BOUNDS_S
from telemetry.profile import SCORE_BOUNDS, ReferenceProfile

GATHERED_ROWS = 128
"""Counting 128 rows takes about 0.1 ms; at thousands the pause would be seen in the 99th percentile."""

ERROR_REASONS = ("rejected", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were answered: what went in and what came out.

    numeric: (n_numeric, n_rows) float64, NaN where missing.
    codes: (n_categorical, n_rows) indices into a feature's labels.
    outcomes: (n_rows,) indices into the profile's outcomes; None in regression.
    probabilities: (n_rows, n_outcomes); None from a model without them.
    values: (n_rows,) of a regression; otherwise None.
    """

    numeric: Floats
    codes: Codes
    outcomes: Codes | None
    probabilities: Floats | None
    values: Floats | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        return int(self.numeric.shape[1])


@dataclass(frozen=True, slots=True)
class ModelId:
    """The name and the version under which a model is measured."""

    name: str
    version: str

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of every `ml.*` instrument."""
        return {"model.name": self.name, "model.version": self.version}


class Recorder:
    """Counts one model's predictions against the vocabulary and the edges of its profile.

    queue_length: rows that wait for the model at this moment.
    """

    def __init__(
        self,
        model: ModelId,
        profile: ReferenceProfile,
        steps: tuple[str, ...],
        queue_length: Callable[[], int] = lambda: 0,
    ) -> None:
        self.model = model
        self.profile = profile
        self.queue_length = queue_length
        self._lock = Lock()
        self._waiting: list[Rows] = []
        self._n_waiting = 0
        self._values = BucketTable([feature.bounds for feature in profile.numeric])
        self._categories = Tallies([len(feature.labels) for feature in profile.categorical])
        self._outcomes = Tallies([len(profile.outcomes)])
        self._scores = BucketTable([SCORE_BOUNDS] * len(profile.scored))
        self._scored = [index for index, _ in profile.scored]
        self._errors = dict.fromkeys(ERROR_REASONS, 0)
        self.steps = {step: Buckets(STEP_BOUNDS_S) for step in steps}
        self.batch_size = Buckets(BATCH_SIZE_BOUNDS)
        self.queue_duration = Buckets(STEP_BOUNDS_S)

    def record(self, rows: Rows) -> None:
        """Counts the rows of one response that was handed to the server."""
        with self._lock:
            self._waiting.append(rows)
            self._n_waiting += len(rows)
            if self._n_waiting >= GATHERED_ROWS:
                self._count_waiting()

    def batch(self, n_rows: int, step_seconds: Mapping[str, float]) -> None:
        """Counts one batch that the model predicted and the time of each of its steps."""
        self.batch_size.add(float(n_rows))
        for step, seconds in step_seconds.items():
            self.steps[step].add(seconds)

    def error(self, reason: str) -> None:
        """Counts a request that got no prediction; reason is one of ERROR_REASONS."""
        with self._lock:
            self._errors[reason] += 1

    def errors(self) -> dict[str, int]:
        """Requests without a prediction, by reason."""
        with self._lock:
            return dict(self._errors)

    def predictions(self) -> dict[str, int]:
        """Rows by outcome."""
        with self._counted():
            return dict(zip(self.profile.outcomes, self._outcomes.read()[0], strict=True))

    def scores(self) -> dict[str, Snapshot]:
        """P(class) by outcome."""
        with self._counted():
            return dict(zip((outcome for _, outcome in self.profile.scored), self._scores.read(), strict=True))

    def values(self) -> dict[str, Snapshot]:
        """Numeric inputs by feature."""
        with self._counted():
            return dict(zip((feature.name for feature in self.profile.numeric), self._values.read(), strict=True))

    def categories(self) -> dict[str, dict[str, int]]:
        """Categorical inputs by feature and label."""
        with self._counted():
            counts = self._categories.read()
        return {
            feature.name: dict(zip(feature.labels, counted, strict=True))
            for feature, counted in zip(self.profile.categorical, counts, strict=True)
        }

    def missing(self) -> dict[str, int]:
        """Missing inputs by feature, numeric ones first."""
        with self._counted():
            numeric, categorical = self._values.missing(), [counts[-1] for counts in self._categories.read()]
        return dict(zip((feature.name for feature in self.profile.features), numeric + categorical, strict=True))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._count_waiting()
            yield

    def _count_waiting(self) -> None:
        """Counts the rows that wait. The lock is held."""
        waiting, self._waiting, self._n_waiting = self._waiting, [], 0
        if not waiting:
            return
        if self.profile.numeric:
            self._values.add(np.concatenate([rows.numeric for rows in waiting], axis=1))
        if self.profile.categorical:
            self._categories.add(np.concatenate([rows.codes for rows in waiting], axis=1))
        outcomes = [rows.outcomes for rows in waiting if rows.outcomes is not None]
        if outcomes:
            self._outcomes.add(np.concatenate(outcomes)[np.newaxis])
        probabilities = [rows.probabilities for rows in waiting if rows.probabilities is not None]
        if probabilities and self._scored:
            self._scores.add(np.concatenate(probabilities)[:, self._scored].T)
