"""Columns become predictions, with the time of each step; no HTTP, no OpenTelemetry."""

from contextlib import AbstractContextManager, nullcontext
from time import perf_counter_ns
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from sightline_service.errors import InvalidRowsError, PredictionFailedError, SightlineError, shortened
from sightline_service.prediction.columns import Columns
from sightline_service.prediction.dataframes import FrameBuilder
from sightline_service.prediction.fastpath.path import FastPath
from sightline_service.prediction.fastpath.reading import NotReadableError
from sightline_service.prediction.fastpath.trial import tried
from sightline_service.prediction.inspection import takes_arrays
from sightline_service.prediction.result import Prediction
from sightline_telemetry.model.profile import ReferenceProfile

ESTIMATOR_STEP = "estimator"
"""Name of the only step of a model that is not a Pipeline."""

PARALLEL_ROWS = 2_000
"""For fewer rows a second OpenMP thread gains nothing, and where cores are busy its spinning waits cost dearly."""


class Predictor:
    """Runs a fitted estimator, step by step if it is a Pipeline."""

    def __init__(self, model: Any, profile: ReferenceProfile) -> None:
        self._profile = profile
        self._frames = FrameBuilder(profile)
        self._takes_arrays = takes_arrays(model)
        self._transforms: list[tuple[str, Any]] = []
        last, self._estimator = ESTIMATOR_STEP, model
        if hasattr(model, "steps"):
            *before, (last, self._estimator) = model.steps
            self._transforms = [(name, step) for name, step in before if step is not None and step != "passthrough"]
        self._threads = ThreadpoolController()
        self._is_regression = profile.task == "regression"
        self._has_probabilities = bool(profile.scores)
        self._classes = np.empty(0) if self._is_regression else np.asarray(self._estimator.classes_)
        self.steps = (*(name for name, _ in self._transforms), last)
        self._fast: FastPath | None = None
        self.path = "the pipeline, step by step"
        """How rows are predicted, in words."""
        self.depends_on_types = False
        """True if a value that is missing among integers, which makes floats of them, changes what other rows get."""

    def build_fast_path(self, sample: Columns) -> None:
        """Reads the model into a fast path, and takes it from now on if it agrees with the pipeline.

        sample: rows to try it with, besides those that are made up for it. `path` says what came of it, and why.
        """
        steps = [transform for _, transform in self._transforms]
        try:
            fast = FastPath(steps, self._estimator, self._profile, self._frames.build)
            tried(fast, self.predict, self._profile, sample)
        except Exception as error:
            # Transformers are called on what training never showed them; whatever they raise, the pipeline can serve.
            reason = str(error) if isinstance(error, NotReadableError) else f"{type(error).__name__}: {error}"
            self.path = f"the pipeline, step by step: {shortened(reason)}"
            self.depends_on_types = self._depends_on_dtypes(sample)
            return
        self._fast, self.path = fast, f"the fast path: {fast.kind}"

    def predict(self, columns: Columns) -> Prediction:
        """Predicts all rows at once.

        Raises InvalidRowsError if the model refuses the values (scikit-learn raises ValueError for that), and
        PredictionFailedError for anything else that it raises.
        """
        fast, start_ns = self._fast, perf_counter_ns()
        try:
            folded = fast.folded(columns) if fast is not None else None
            if folded is not None:
                # One computation for all steps; it is booked on the last of them.
                folded.marks = (start_ns,) * len(self.steps) + (perf_counter_ns(),)
                return folded
            with self._one_thread() if len(columns) < PARALLEL_ROWS else nullcontext():
                ready = fast.on_matrix(columns) if fast is not None else None
                if ready is not None:
                    prediction, ready_ns = ready
                    # What is read of all transformers is booked on the first of them.
                    prediction.marks = (start_ns, *(ready_ns,) * (len(self.steps) - 1), perf_counter_ns())
                    return prediction
                frame = self._frames.build(columns)
                return self._predict(frame.to_numpy() if self._takes_arrays else frame)
        except ValueError as error:
            raise InvalidRowsError(f"the model refuses these rows: {error}") from error
        except Exception as error:
            raise PredictionFailedError(f"the model failed with {type(error).__name__}") from error

    def _depends_on_dtypes(self, sample: Columns) -> bool:
        """Whether some rows are predicted otherwise in the company of one whose integers and booleans are none."""
        whole = [at for at, feature in enumerate(self._profile.numeric) if feature.dtype in ("int64", "bool")]
        numeric, raw, codes = sample.arrays
        stranger = numeric[:, :1].copy()
        stranger[whole] = 0.5
        company = Columns(
            np.hstack([numeric, stranger]),
            tuple([*values, values[0]] for values in raw),
            np.hstack([codes, codes[:, :1]]),
        )
        try:
            alone, among = self.predict(sample), self.predict(company).part(0, len(sample))
        except SightlineError:
            return bool(whole)
        pairs = ((alone.probabilities, among.probabilities), (alone.values, among.values))
        is_same = all(a is None or b is None or np.allclose(a, b, equal_nan=True) for a, b in pairs)
        return bool(whole) and not (is_same and alone.codes() == among.codes())

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
            # Both are asked for: an argmax of the probabilities is not every classifier's `predict`.
            if self._has_probabilities:
                probabilities = np.asarray(self._estimator.predict_proba(x), dtype=np.float64)
            outcomes = np.searchsorted(self._classes, self._estimator.predict(x))
        prediction = Prediction(outcomes, probabilities, values)
        prediction.marks = (*marks, perf_counter_ns())
        return prediction
