"""Makes predictions of columns, with the time of each step; no HTTP, no OpenTelemetry."""

from contextlib import AbstractContextManager, nullcontext
from time import perf_counter_ns
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from sightline_service.errors import InvalidRowsError, PredictionFailedError, SightlineError, shortened
from sightline_service.prediction.columns import ArrayColumns, ColumnArrays, Columns
from sightline_service.prediction.dataframes import FrameBuilder
from sightline_service.prediction.fastpath.agreement import verify
from sightline_service.prediction.fastpath.path import FastPath
from sightline_service.prediction.fastpath.reading import NotReadableError
from sightline_service.prediction.inspection import takes_arrays
from sightline_service.prediction.result import ArrayPrediction, OutputArrays, Prediction
from sightline_telemetry.estimators import active_steps
from sightline_telemetry.model.profile import ReferenceProfile

ESTIMATOR_STEP = "estimator"
"""Name of the only step of a model that is not a Pipeline."""

PARALLEL_ROWS = 2_000
"""For fewer rows a second OpenMP thread gains nothing, and where cores are busy its spinning waits are expensive."""


class Predictor:
    """Runs a fitted estimator, step by step if it is a Pipeline."""

    def __init__(self, model: Any, profile: ReferenceProfile) -> None:
        self._profile = profile
        self._frames = FrameBuilder(profile)
        self._takes_arrays = takes_arrays(model)
        *self._transforms, (last, self._estimator) = active_steps(model) or [(ESTIMATOR_STEP, model)]
        self._threads = ThreadpoolController()
        self._is_regression = profile.task == "regression"
        self._has_probabilities = bool(profile.scores)
        self._classes = np.empty(0) if self._is_regression else np.asarray(self._estimator.classes_)
        self.steps = (*(name for name, _ in self._transforms), last)
        self._fast: FastPath | None = None
        self.path_description = "the pipeline, step by step"
        """How rows are predicted, for people to read."""
        self.depends_on_dtypes = False
        """True if a value that is missing among integers, which turns them into floats, changes other rows' results."""

    def build_fast_path(self, sample: Columns) -> None:
        """Reads the model into a fast path, and uses it from now on if it agrees with the pipeline.

        sample: rows to verify it with, besides rows that are generated. `path_description` gives the result.
        """
        steps = [transform for _, transform in self._transforms]
        try:
            fast = FastPath(steps, self._estimator, self._profile, self._frames.build)
            verify(fast, self.predict, self._profile, sample)
        except Exception as error:
            # Transformers are called with values unlike any in training; whatever they raise, the pipeline can serve.
            reason = str(error) if isinstance(error, NotReadableError) else f"{type(error).__name__}: {error}"
            self.path_description = f"the pipeline, step by step: {shortened(reason)}"
            self.depends_on_dtypes = self._depends_on_dtypes(sample)
            return
        self._fast, self.path_description = fast, f"the fast path: {fast.kind}"

    def predict(self, columns: Columns) -> Prediction:
        """Predicts all rows at once.

        Raises InvalidRowsError if the model refuses the values (scikit-learn raises ValueError for that), and
        PredictionFailedError for every other error of the model.
        """
        fast, start_ns = self._fast, perf_counter_ns()
        try:
            folded = fast.folded(columns, start_ns) if fast is not None else None
            if folded is not None:
                return folded
            with self._one_thread() if len(columns) < PARALLEL_ROWS else nullcontext():
                on_matrix = fast.on_matrix(columns, start_ns) if fast is not None else None
                if on_matrix is not None:
                    return on_matrix
                frame = self._frames.build(columns)
                return self._predict(frame.to_numpy() if self._takes_arrays else frame)
        except ValueError as error:
            raise InvalidRowsError(f"the model refuses these rows: {error}") from error
        except Exception as error:
            raise PredictionFailedError(f"the model failed with {type(error).__name__}") from error

    def _depends_on_dtypes(self, sample: Columns) -> bool:
        """Whether rows get other predictions beside an outlier that has fractions for integers and booleans."""
        whole = [at for at, feature in enumerate(self._profile.numeric) if feature.dtype in ("int64", "bool")]
        numeric, raw, codes = sample.arrays
        outlier = numeric[:, :1].copy()
        outlier[whole] = 0.5
        mixed = ColumnArrays(
            np.hstack([numeric, outlier]),
            tuple([*values, values[0]] for values in raw),
            np.hstack([codes, codes[:, :1]]),
        )
        try:
            before, after = self.predict(sample), self.predict(ArrayColumns(mixed)).part(0, len(sample))
        except SightlineError:
            return bool(whole)
        pairs = zip(before.arrays[1:], after.arrays[1:], strict=True)
        is_same = all(a is None or b is None or np.allclose(a, b, equal_nan=True) for a, b in pairs)
        return bool(whole) and not (is_same and before.outcome_list() == after.outcome_list())

    def _one_thread(self) -> AbstractContextManager[Any]:
        limited: AbstractContextManager[Any] = self._threads.limit(limits=1, user_api="openmp")
        return limited

    def _predict(self, x: Any) -> Prediction:
        marks = [perf_counter_ns()]
        for _, transform in self._transforms:
            x = transform.transform(x)
            marks.append(perf_counter_ns())
        outcomes = probabilities = values = None
        if self._is_regression:
            values = np.asarray(self._estimator.predict(x), dtype=np.float64).reshape(-1)
        else:
            # Both methods are called: not every classifier predicts the class of the largest probability.
            if self._has_probabilities:
                probabilities = np.asarray(self._estimator.predict_proba(x), dtype=np.float64)
            outcomes = np.searchsorted(self._classes, self._estimator.predict(x))
        return ArrayPrediction(OutputArrays(outcomes, probabilities, values), (*marks, perf_counter_ns()))
