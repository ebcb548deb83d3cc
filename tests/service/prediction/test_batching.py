"""The queue before the model: waiting rows are predicted together, and no request waits or suffers for another."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from sightline_service.bundles.bundle import Bundle, load_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_service.bundles.verification import sample_columns
from sightline_service.errors import InvalidRowsError, PredictionFailedError, QueueFullError
from sightline_service.prediction.batching import AT_ONCE_NS, INLINE_NS, INLINE_ROWS, Batcher, measure_row_ns
from sightline_service.prediction.columns import Columns
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.result import Prediction
from sightline_telemetry.events.layout import BATCH, FAULT, body_event, read_batch
from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.recording import EventList

POISON = -1.0


class WatchedPredictor(Predictor):
    """Runs the real predictor, slowly or with errors for some rows; `batches` has the sizes of its batches."""

    def __init__(self, bundle: Bundle, delay_s: float = 0.0, error: Exception | None = None) -> None:
        super().__init__(bundle.model, bundle.profile)
        self.batches: list[int] = []
        self._delay_s = delay_s
        self._error = error

    def predict(self, columns: Columns) -> Prediction:
        """Predicts, or raises if a row is poisoned."""
        self.batches.append(len(columns))
        sleep(self._delay_s)
        if self._error is not None and POISON in columns.arrays.numeric[0]:
            raise self._error
        return super().predict(columns)


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    """Loads the small bundle."""
    return load_bundle(small_bundle)


def rows(bundle: Bundle, n_rows: int = 1, age: float = 30.0) -> Columns:
    """Returns the columns of some equal rows."""
    row = bundle.sample[0] | {"age": age, "plan": "free"}
    return sample_columns((row,) * n_rows, bundle.profile)


def run(
    predictor: WatchedPredictor,
    use: Callable[[Batcher], Coroutine[Any, Any, Any]],
    events: EventList | None = None,
    **options: Any,
) -> Any:
    """Runs a coroutine with a batcher before the predictor. events: takes what the batcher writes."""
    events = events or EventList()
    settings: dict[str, Any] = {"row_ns": 10 * INLINE_NS, "max_rows": 100, "max_queued_rows": 1000, **options}
    batcher = Batcher(predictor, events, 0, Faults(events.write_aside), **settings)

    async def using() -> Any:
        try:
            return await asyncio.wait_for(use(batcher), 20)
        finally:
            batcher.close()

    return asyncio.run(using())


@pytest.mark.parametrize("row_ns", [INLINE_NS // 2, 10 * INLINE_NS])
def test_each_request_gets_its_own_rows(bundle: Bundle, row_ns: int) -> None:
    """Requests of one batch get the predictions of their own rows, in order."""
    predictor = WatchedPredictor(bundle)
    parts = [rows(bundle, n, age) for n, age in ((1, 20.0), (3, 60.0), (2, 35.0))]

    async def use(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.predict(part) for part in parts))

    answers = run(predictor, use, row_ns=row_ns)
    assert predictor.batches == [6]
    for answer, part in zip(answers, parts, strict=True):
        alone = Predictor(bundle.model, bundle.profile).predict(part)
        ours, theirs = answer.prediction.arrays.probabilities, alone.arrays.probabilities
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
        assert answer.batch_rows == 6


@pytest.mark.parametrize("row_ns", [INLINE_NS // 2, 10 * INLINE_NS])
def test_each_run_of_the_model_is_one_event(bundle: Bundle, row_ns: int) -> None:
    """A run is counted once, with its rows, the times of its steps, and the wait of each request; one alone too."""
    predictor, events = WatchedPredictor(bundle), EventList()

    async def use(batcher: Batcher) -> Any:
        await asyncio.gather(*(batcher.predict(rows(bundle, n)) for n in (1, 3, 2)))
        return await batcher.predict(rows(bundle, 4))

    last = run(predictor, use, events, row_ns=row_ns)
    written = events.read()
    assert [event[0] for event in written] == [BATCH, BATCH]
    together, alone = map(read_batch, written)
    assert (together.model, together.n_rows, len(together.queued_ns)) == (0, 6, 3)
    assert all(0 <= waited < 20e9 for waited in together.queued_ns)
    assert (alone.n_rows, alone.marks) == (4, last.prediction.marks)
    assert alone.queued_ns == (last.prediction.marks[0] - last.queued_ns,)
    assert len(alone.marks) == len(predictor.steps) + 1


@pytest.mark.parametrize("row_ns", [INLINE_NS // 2, 10 * INLINE_NS])
def test_a_fault_of_counting_fails_no_request(bundle: Bundle, row_ns: int) -> None:
    """If an event cannot be written, its requests are answered all the same, the next ones too; faults are counted."""

    class Broken(EventList):
        def __init__(self) -> None:
            super().__init__()
            self.write = self._refuse

        def _refuse(self, event: bytes) -> None:
            raise OSError(f"there is no memory for {len(event)} bytes")

    predictor, events = WatchedPredictor(bundle), Broken()

    async def use(batcher: Batcher) -> Any:
        return [await asyncio.gather(*(batcher.predict(rows(bundle, n)) for n in (1, 2))) for _ in range(2)]

    answers = run(predictor, use, events, row_ns=row_ns)
    assert [[len(answer.prediction) for answer in each] for each in answers] == [[1, 2], [1, 2]]
    assert events.read() == [body_event(FAULT, b"recording")] * 2


def test_those_who_come_while_the_model_works_go_together(bundle: Bundle) -> None:
    """The first request is predicted alone at once, and all that arrive meanwhile make the second batch."""
    predictor = WatchedPredictor(bundle, delay_s=0.1)

    async def use(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.predict(rows(bundle)))
        await asyncio.sleep(0.03)
        await asyncio.gather(first, *(batcher.predict(rows(bundle)) for _ in range(9)))

    run(predictor, use)
    assert predictor.batches == [1, 9]


def test_a_batch_has_a_limit(bundle: Bundle) -> None:
    """No batch is larger than the limit, unless one request alone is."""
    predictor = WatchedPredictor(bundle)

    async def use(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.predict(rows(bundle, n)) for n in (60, 60, 30, 150)))

    run(predictor, use)
    assert predictor.batches == [60, 90, 150]


@pytest.mark.parametrize("error", [InvalidRowsError("no"), PredictionFailedError("no"), ZeroDivisionError("no")])
def test_a_request_that_fails_leaves_the_others_alone(bundle: Bundle, error: Exception) -> None:
    """If one request's rows make the model raise, only that request of the batch fails."""
    predictor = WatchedPredictor(bundle, error=error)

    async def use(batcher: Batcher) -> Any:
        ages = (30.0, POISON, 50.0)
        return await asyncio.gather(*(batcher.predict(rows(bundle, 1, age)) for age in ages), return_exceptions=True)

    good, bad, better = run(predictor, use)
    assert isinstance(bad, InvalidRowsError if isinstance(error, InvalidRowsError) else PredictionFailedError)
    assert len(good.prediction) == len(better.prediction) == 1


def test_a_full_queue_refuses_at_once(bundle: Bundle) -> None:
    """Above the limit of waiting rows, requests are refused before they wait, with the time after which to retry."""
    predictor = WatchedPredictor(bundle, delay_s=0.2)

    async def use(batcher: Batcher) -> int:
        first = asyncio.create_task(batcher.predict(rows(bundle)))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batcher.predict(rows(bundle, 8)))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError) as refused:
            await batcher.predict(rows(bundle, 8))
        assert refused.value.retry_after_s == 1
        queued = batcher.queued_rows
        await asyncio.gather(first, second)
        return queued

    assert run(predictor, use, max_queued_rows=10) == 8


def test_a_large_request_is_served_when_the_queue_is_empty(bundle: Bundle) -> None:
    """A request with more rows than may wait is predicted if no other request waits before it."""
    predictor = WatchedPredictor(bundle)

    async def use(batcher: Batcher) -> int:
        return len((await batcher.predict(rows(bundle, 12))).prediction)

    assert run(predictor, use, max_queued_rows=10) == 12
    assert predictor.batches == [12]


def test_a_client_that_gave_up_costs_no_prediction(bundle: Bundle) -> None:
    """A request that is cancelled while it waits is not predicted, and the queue is empty afterwards."""
    predictor = WatchedPredictor(bundle, delay_s=0.1)

    async def use(batcher: Batcher) -> int:
        first = asyncio.create_task(batcher.predict(rows(bundle)))
        await asyncio.sleep(0.03)
        second = asyncio.create_task(batcher.predict(rows(bundle, 5)))
        third = asyncio.create_task(batcher.predict(rows(bundle, 2)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)
        return batcher.queued_rows

    assert run(predictor, use) == 0
    assert predictor.batches == [1, 2]


def test_a_model_of_microseconds_is_asked_at_once(bundle: Bundle) -> None:
    """A model that takes microseconds predicts each small request at once, without a queue; large requests wait."""
    predictor = WatchedPredictor(bundle)

    async def use(batcher: Batcher) -> None:
        answers = [batcher.predict_at_once(rows(bundle, n)) for n in (1, 3, INLINE_ROWS + 1, 2)]
        assert [answer and len(answer.prediction) for answer in answers] == [1, 3, None, 2]

    run(predictor, use, row_ns=1000, max_rows=1000)
    assert predictor.batches == [1, 3, 2]

    async def never(batcher: Batcher) -> None:
        assert batcher.predict_at_once(rows(bundle)) is None

    run(predictor, never, row_ns=AT_ONCE_NS)


def test_the_time_of_a_row_is_measured(bundle: Bundle) -> None:
    """The time of one row is the median of some runs, without the first."""
    took_ns = measure_row_ns(WatchedPredictor(bundle, delay_s=0.002), rows(bundle))
    assert 2e6 < took_ns < 2e8


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(str)


@pytest.mark.parametrize(("step", "depends"), [(_as_text, True), (np.abs, False)])
def test_a_missing_value_changes_no_other_request(step: Any, *, depends: bool) -> None:
    """A missing value makes `10.0` of an integer `10`; if the model reads that otherwise, requests run singly."""
    random = np.random.default_rng(2)
    data = pd.DataFrame({"code": random.choice([10, 20, 30], 300)})
    labels = pd.Series(np.where((data["code"] == 20) ^ (random.random(300) < 0.2), "yes", "no"))
    steps = FunctionTransformer(step), OneHotEncoder(handle_unknown="ignore"), LogisticRegression()
    bundle = make_bundle(make_pipeline(*steps).fit(data, labels), data, labels, "codes", "1")
    predictor = WatchedPredictor(bundle)
    predictor.build_fast_path(sample_columns(bundle.sample, bundle.profile))
    assert predictor.depends_on_dtypes == depends
    parts = [sample_columns(({"code": code},), bundle.profile) for code in (10, 20, 10.5, 20, None, 30)]
    alone: list[Any] = [predictor.predict(part).arrays.probabilities for part in parts]
    predictor.batches.clear()

    async def together(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.predict(part) for part in parts))

    answers = run(predictor, together)
    np.testing.assert_allclose([answer.prediction.arrays.probabilities for answer in answers], alone, rtol=1e-12)
    assert predictor.batches == ([1] * 6 if depends else [6])
