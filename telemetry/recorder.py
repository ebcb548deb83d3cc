"""What predictions mean in counts: one lock, no loop over rows.

Counting one row in numpy costs as much as counting a hundred, so rows are gathered and counted together; a
reader (export, scrape) counts what is still waiting first, so it sees every finished request.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from telemetry.counts import Buckets, Codes, Floats, Snapshot
from telemetry.inputs import InputCounts
from telemetry.names import BATCH_SIZE_BOUNDS, STEP_BOUNDS_S
from telemetry.outputs import OutputCounts
from telemetry.profile import ReferenceProfile

T = TypeVar("T", np.float64, np.intp)

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
        self._inputs = InputCounts(profile)
        self._outputs = OutputCounts(profile)
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

    def record_outputs(self, outcomes: Codes | None, probabilities: Floats | None, values: Floats | None) -> None:
        """Counts what came out alone, shaped as in Rows, where what went in is counted on its way."""
        with self._lock:
            self._count_outputs(outcomes, probabilities, values)

    def record_numeric(self, values: Floats, members: Sequence[int]) -> None:
        """Counts some of the numeric features alone: (n_members, n_rows), members are indices into the profile's."""
        with self._lock:
            self._inputs.add_numeric(values, members)

    def record_codes(self, codes: Codes, members: Sequence[int]) -> None:
        """Counts some of the categorical features alone: (n_members, n_rows), members as for the numeric ones."""
        with self._lock:
            self._inputs.add_codes(codes, members)

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

    def rows(self) -> int:
        """Rows that were predicted."""
        with self._counted():
            return self._outputs.rows()

    def predictions(self) -> dict[str, int]:
        """Rows by outcome; in regression there is none."""
        with self._counted():
            return self._outputs.predictions()

    def scores(self) -> dict[str, Snapshot]:
        """P(class) by outcome; empty without probabilities."""
        with self._counted():
            return self._outputs.scores()

    def confidence(self) -> Snapshot | None:
        """P(predicted class); None without probabilities."""
        with self._counted():
            return self._outputs.confidence()

    def predicted_values(self) -> Snapshot | None:
        """The values of a regression; None in classification."""
        with self._counted():
            return self._outputs.values()

    def values(self) -> dict[str, Snapshot]:
        """Numeric inputs by feature."""
        with self._counted():
            return self._inputs.values()

    def out_of_range(self) -> dict[str, tuple[int, int]]:
        """Numeric inputs under the minimum and over the maximum of training, by feature."""
        with self._counted():
            return self._inputs.out_of_range()

    def categories(self) -> dict[str, dict[str, int]]:
        """Categorical inputs by feature and label."""
        with self._counted():
            return self._inputs.categories()

    def missing(self) -> dict[str, int]:
        """Missing inputs by feature, numeric ones first."""
        with self._counted():
            return self._inputs.missing()

    def imputed(self) -> dict[tuple[str, str], int]:
        """Inputs that an imputer filled in, by feature and method."""
        with self._counted():
            return self._inputs.imputed()

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
        self._inputs.add_numeric(_joined([rows.numeric for rows in waiting], axis=1))
        self._inputs.add_codes(_joined([rows.codes for rows in waiting], axis=1))
        self._count_outputs(
            _present([rows.outcomes for rows in waiting]),
            _present([rows.probabilities for rows in waiting]),
            _present([rows.values for rows in waiting]),
        )

    def _count_outputs(self, outcomes: Codes | None, probabilities: Floats | None, values: Floats | None) -> None:
        if outcomes is not None:
            self._outputs.add_outcomes(outcomes, probabilities)
        elif values is not None:
            self._outputs.add_values(values)


def _joined(parts: Sequence[NDArray[T]], axis: int = 0) -> NDArray[T]:
    """The rows of all parts, not copied if there is one."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def _present(parts: Sequence[NDArray[T] | None]) -> NDArray[T] | None:
    """The rows of all parts; a model has an output always or never."""
    present = [part for part in parts if part is not None]
    return _joined(present) if present else None
