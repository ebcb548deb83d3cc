"""Counts the predictions of a model, with one lock and no loop over rows.

Counting one row in numpy costs as much as counting a hundred, so rows are gathered and counted together. A reader
(export, scrape) first counts the rows that still wait, so it sees every finished request.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline_telemetry.instruments import BATCH_SIZE_BOUNDS, STEP_BOUNDS_S
from sightline_telemetry.model.counts import Buckets, Codes, Floats, Snapshot
from sightline_telemetry.model.inputs import InputCounts
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.outputs import OutputCounts
from sightline_telemetry.model.profile import ReferenceProfile

T = TypeVar("T", np.float64, np.intp)

GATHERED_ROWS = 256
"""With thousands of rows, the pause for counting them would be visible in the 99th percentile of requests."""

ERROR_REASONS = ("rejected", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Rows:
    """Holds the inputs and the outputs of answered rows.

    numeric: (n_numeric, n_rows) float64, NaN where missing.
    codes: (n_categorical, n_rows) indices into a feature's labels.
    outcomes: (n_rows,) indices into the profile's outcomes; None in regression.
    probabilities: (n_rows, n_outcomes); None if the model has none.
    values: (n_rows,) predicted values of a regression; otherwise None.
    """

    numeric: Floats
    codes: Codes
    outcomes: Codes | None
    probabilities: Floats | None
    values: Floats | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return int(self.numeric.shape[1])


def joined(parts: Sequence[Rows]) -> Rows:
    """Joins the rows of all parts; a single part is not copied. All parts must have the same outputs."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.numeric for part in parts], axis=1),
        np.concatenate([part.codes for part in parts], axis=1),
        _joined_outputs([part.outcomes for part in parts]),
        _joined_outputs([part.probabilities for part in parts]),
        _joined_outputs([part.values for part in parts]),
    )


def _joined_outputs(parts: Sequence[NDArray[T] | None]) -> NDArray[T] | None:
    """Joins the arrays of all parts; returns None if the model has no such output."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


class PredictionRecorder(Protocol):
    """Counts the predictions of one model, as `Recorder` does; an implementation may also discard them."""

    def record(self, rows: Sized) -> None:
        """Counts the rows of one response."""
        ...

    def batch(self, n_rows: int, marks_ns: Sequence[int], queued_ns: Sequence[int]) -> None:
        """Counts a batch that the model predicted."""
        ...

    def error(self, reason: str) -> None:
        """Counts a request that got no prediction."""
        ...


class Recorder:
    """Counts one model's predictions against the vocabulary and the edges of its profile.

    join: joins the answers that wait to be counted into one; small answers are cheaper to join before they become
    arrays.
    """

    def __init__(
        self,
        model: ModelId,
        profile: ReferenceProfile,
        steps: tuple[str, ...],
        join: Callable[[Sequence[Any]], Rows] = joined,
    ) -> None:
        self.model = model
        self.profile = profile
        self.steps = steps
        self._lock = Lock()
        self._join = join
        self._waiting: list[Sized] = []
        self._n_waiting = 0
        self._batches: list[tuple[int, Sequence[int], Sequence[int]]] = []
        self._inputs = InputCounts(profile)
        self._outputs = OutputCounts(profile)
        self._errors = dict.fromkeys(ERROR_REASONS, 0)
        self._steps = {step: Buckets(STEP_BOUNDS_S) for step in steps}
        self._batch_size = Buckets(BATCH_SIZE_BOUNDS)
        self._queue_duration = Buckets(STEP_BOUNDS_S)

    def record(self, rows: Sized) -> None:
        """Counts the rows of one response that was passed to the server: `Rows`, or the type that `join` takes."""
        n_rows = len(rows)
        with self._lock:
            if n_rows >= GATHERED_ROWS:  # joining would only copy a large answer
                self._count([rows])
                return
            self._waiting.append(rows)
            self._n_waiting += n_rows
            if self._n_waiting >= GATHERED_ROWS:
                self._count_waiting()

    def record_outputs(self, outcomes: Codes | None, probabilities: Floats | None, values: Floats | None) -> None:
        """Counts only outputs, shaped as in Rows, for models whose inputs are counted in the pipeline."""
        with self._lock:
            self._count_outputs(outcomes, probabilities, values)

    def record_numeric(self, values: Floats, members: Sequence[int]) -> None:
        """Counts only some numeric features: (n_members, n_rows) values, and the indices in the profile."""
        with self._lock:
            self._inputs.add_numeric(values, members)

    def record_codes(self, codes: Codes, members: Sequence[int]) -> None:
        """Counts only some categorical features: (n_members, n_rows) codes, and the indices in the profile."""
        with self._lock:
            self._inputs.add_codes(codes, members)

    def batch(self, n_rows: int, marks_ns: Sequence[int], queued_ns: Sequence[int]) -> None:
        """Counts a batch that the model predicted, and how long each of its requests waited.

        marks_ns: (n_steps + 1,) times at which each step began and the last one ended; only differences matter.
        """
        with self._lock:
            self._batches.append((n_rows, marks_ns, queued_ns))
            if len(self._batches) >= GATHERED_ROWS:
                self._count_batches()

    def error(self, reason: str) -> None:
        """Counts a request that got no prediction; reason is one of ERROR_REASONS."""
        with self._lock:
            self._errors[reason] += 1

    def errors(self) -> dict[str, int]:
        """Returns the requests without a prediction per reason."""
        with self._lock:
            return dict(self._errors)

    def step_durations(self) -> dict[str, Snapshot]:
        """Returns the histogram of seconds per batch, for each step of the pipeline."""
        with self._counted():
            return {step: buckets.read() for step, buckets in self._steps.items()}

    def batch_sizes(self) -> Snapshot:
        """Returns the histogram of rows predicted together."""
        with self._counted():
            return self._batch_size.read()

    def queue_durations(self) -> Snapshot:
        """Returns the histogram of seconds that requests waited for the model."""
        with self._counted():
            return self._queue_duration.read()

    def rows(self) -> int:
        """Returns how many rows were predicted."""
        with self._counted():
            return self._outputs.rows()

    def predictions(self) -> dict[str, int]:
        """Returns the rows per outcome; empty in regression."""
        with self._counted():
            return self._outputs.predictions()

    def scores(self) -> dict[str, Snapshot]:
        """Returns the histogram of P(class) per outcome; empty without probabilities."""
        with self._counted():
            return self._outputs.scores()

    def confidence(self) -> Snapshot | None:
        """Returns the histogram of P(predicted class); None without probabilities."""
        with self._counted():
            return self._outputs.confidence()

    def predicted_values(self) -> Snapshot | None:
        """Returns the histogram of the predicted values; None in classification."""
        with self._counted():
            return self._outputs.values()

    def values(self) -> dict[str, Snapshot]:
        """Returns the histogram of the numeric inputs per feature."""
        with self._counted():
            return self._inputs.values()

    def out_of_range(self) -> dict[str, tuple[int, int]]:
        """Returns how many numeric inputs were under the minimum and over the maximum of training, per feature."""
        with self._counted():
            return self._inputs.out_of_range()

    def categories(self) -> dict[str, dict[str, int]]:
        """Returns the rows of categorical inputs per feature and label."""
        with self._counted():
            return self._inputs.categories()

    def missing(self) -> dict[str, int]:
        """Returns the missing inputs per feature, numeric features first."""
        with self._counted():
            return self._inputs.missing()

    def imputed(self) -> dict[tuple[str, str], int]:
        """Returns how many inputs an imputer filled in, per feature and method."""
        with self._counted():
            return self._inputs.imputed()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._count_waiting()
            self._count_batches()
            yield

    def _count_batches(self) -> None:
        """Counts the waiting batches. The caller must hold the lock."""
        batches, self._batches = self._batches, []
        if not batches:
            return
        self._batch_size.add_all([float(n_rows) for n_rows, _, _ in batches])
        self._queue_duration.add_all([waited / 1e9 for _, _, queued in batches for waited in queued])
        for index, buckets in enumerate(self._steps.values()):
            buckets.add_all([(marks[index + 1] - marks[index]) / 1e9 for _, marks, _ in batches])

    def _count_waiting(self) -> None:
        """Counts the waiting rows. The caller must hold the lock."""
        waiting, self._waiting, self._n_waiting = self._waiting, [], 0
        if waiting:
            self._count(waiting)

    def _count(self, parts: Sequence[Any]) -> None:
        """Counts rows immediately. The caller must hold the lock."""
        rows = self._join(parts)
        self._inputs.add_numeric(rows.numeric)
        self._inputs.add_codes(rows.codes)
        self._count_outputs(rows.outcomes, rows.probabilities, rows.values)

    def _count_outputs(self, outcomes: Codes | None, probabilities: Floats | None, values: Floats | None) -> None:
        if outcomes is not None:
            self._outputs.add_outcomes(outcomes, probabilities)
        elif values is not None:
            self._outputs.add_values(values)
