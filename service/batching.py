"""Requests that wait together are predicted together.

A request never waits for company: the model starts as soon as it is free, and takes all that is there. A model
that answers one row within a millisecond runs on the event loop, where a hop to a thread would cost more than
it saves; a slower one runs in one thread, so that the loop goes on reading requests.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns

from service.columns import Columns
from service.errors import PredictionFailedError, QueueFullError, SightlineError
from service.predictor import Prediction, Predictor
from telemetry.faults import Faults
from telemetry.recorder import Recorder

INLINE_NS = 1_000_000
INLINE_ROWS = 256
"""More rows than these hold the event loop too long even for a quick model."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of the model: which it was, its rows, and when it worked (monotonic ns)."""

    number: int
    n_rows: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's part of a batch. queued_ns: when it began to wait."""

    prediction: Prediction
    batch: Batch
    queued_ns: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    columns: Columns
    future: "asyncio.Future[Answer]"
    queued_ns: int


_Outcome = Answer | SightlineError


class Batcher:
    """The queue before one model. Belongs to one event loop."""

    def __init__(
        self,
        predictor: Predictor,
        recorder: Recorder,
        faults: Faults,
        *,
        is_quick: bool,
        max_rows: int,
        max_queued_rows: int,
    ) -> None:
        self._predictor = predictor
        self._recorder = recorder
        self._faults = faults
        self._is_quick = is_quick
        self._max_rows = max_rows
        self._max_queued_rows = max_queued_rows
        self._waiting: deque[_Waiting] = deque()
        self._is_running = False
        self._numbers = count(1)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self.queued_rows = 0

    async def predict(self, columns: Columns) -> Answer:
        """Waits for the model and returns this request's predictions.

        Raises QueueFullError at once if too many rows wait already, and whatever the predictor raises.
        """
        if self._waiting and self.queued_rows + len(columns) > self._max_queued_rows:
            raise QueueFullError(f"{self.queued_rows} rows wait for the model already; try again in a second")
        loop = asyncio.get_running_loop()
        item = _Waiting(columns, loop.create_future(), perf_counter_ns())
        self._waiting.append(item)
        self.queued_rows += len(columns)
        if not self._is_running:
            self._is_running = True
            # In a context of its own: a batch belongs to several requests, so to the trace of none.
            loop.call_soon(self._start, context=Context())
        return await item.future

    def close(self) -> None:
        """Lets the thread end once it is idle."""
        self._executor.shutdown(wait=False)

    def _start(self) -> None:
        items = self._take()
        if not items:
            self._is_running = False
            return
        if self._is_quick and sum(len(item.columns) for item in items) <= INLINE_ROWS:
            self._finish(items, self._predict(items))
            return
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._predict, items)
        running.add_done_callback(lambda done: self._finish(items, done.result()))

    def _take(self) -> list[_Waiting]:
        """The next requests in line, as many as fit; those whose client has given up are left out."""
        items: list[_Waiting] = []
        n_rows = 0
        while self._waiting and (not items or n_rows + len(self._waiting[0].columns) <= self._max_rows):
            item = self._waiting.popleft()
            self.queued_rows -= len(item.columns)
            if not item.future.cancelled():
                items.append(item)
                n_rows += len(item.columns)
        return items

    def _predict(self, items: Sequence[_Waiting]) -> list[_Outcome]:
        try:
            return list(self._predict_together(items))
        except Exception as error:
            if len(items) == 1 and isinstance(error, SightlineError):
                return [error]
            if len(items) == 1:
                return [PredictionFailedError(f"the model failed with {type(error).__name__}")]
        # One request's rows made the model raise; the others must not suffer for it.
        return [outcome for item in items for outcome in self._predict([item])]

    def _predict_together(self, items: Sequence[_Waiting]) -> list[Answer]:
        start_ns = perf_counter_ns()
        columns = Columns.joined([item.columns for item in items])
        prediction = self._predictor.predict(columns)
        batch = Batch(next(self._numbers), len(columns), start_ns, perf_counter_ns())
        with self._faults.contained("recorder"):
            self._recorder.batch(len(columns), {s.name: (s.end_ns - s.start_ns) / 1e9 for s in prediction.steps})
            for item in items:
                self._recorder.queue_duration.add((start_ns - item.queued_ns) / 1e9)
        answers, row = [], 0
        for item in items:
            stop = row + len(item.columns)
            answers.append(Answer(prediction.part(row, stop), batch, item.queued_ns))
            row = stop
        return answers

    def _finish(self, items: Sequence[_Waiting], outcomes: Sequence[_Outcome]) -> None:
        for item, outcome in zip(items, outcomes, strict=True):
            if item.future.cancelled():
                continue
            if isinstance(outcome, Answer):
                item.future.set_result(outcome)
            else:
                item.future.set_exception(outcome)
        self._start()


def is_quick(predictor: Predictor, columns: Columns, rounds: int = 5) -> bool:
    """True if the model answers within a millisecond; the median of some rounds, the first one not counted."""
    times = []
    for _ in range(rounds + 1):
        start_ns = perf_counter_ns()
        predictor.predict(columns)
        times.append(perf_counter_ns() - start_ns)
    return sorted(times[1:])[rounds // 2] < INLINE_NS
