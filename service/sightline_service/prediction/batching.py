"""Predicts requests that wait together in one batch.

A request never waits for others: the model starts as soon as it is free, and takes all requests that wait. A model
that predicts one row within a millisecond runs on the event loop, where a hop to a thread would cost more than
it saves; a slower one runs in one thread, so that the loop goes on reading requests. A model that predicts within
microseconds runs at once, without a queue: waiting would cost more than a batch saves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns
from typing import Any, NamedTuple

from sightline_service.errors import ClientGoneError, PredictionFailedError, QueueFullError, SightlineError
from sightline_service.prediction.columns import Columns, join_columns
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.result import Prediction
from sightline_telemetry.events.layout import batch_event
from sightline_telemetry.events.slots import PREDICTING
from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.recording import EventSink

AT_ONCE_NS = 60_000
"""A quicker model runs at once: a place in the queue costs some microseconds, and a batch saves little more."""

INLINE_NS = 1_000_000
INLINE_ROWS = 256
"""More rows than these hold the event loop too long even for a quick model."""


class Answer(NamedTuple):
    """One request's part of a batch: the number of the model's run, and how many rows were in it.

    queued_ns: when the request began to wait (monotonic).
    """

    prediction: Prediction
    batch: int
    batch_rows: int
    queued_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    columns: Columns
    future: "asyncio.Future[Answer]"
    queued_ns: int
    slot: int


_Outcome = Answer | SightlineError

Gone = Callable[[], Coroutine[Any, Any, None]]


class Batcher:
    """The queue before one model. Belongs to one event loop.

    sink: takes an event per batch. model: the number under which events name it; None if nothing is counted.
    """

    def __init__(
        self,
        predictor: Predictor,
        sink: EventSink,
        model: int | None,
        faults: Faults,
        *,
        row_ns: int,
        max_rows: int,
        max_queued_rows: int,
    ) -> None:
        self._predictor = predictor
        self._write = sink.write
        self._queued = sink.queued
        self._slots = sink.slots
        self._model = model
        self._faults = faults
        self._is_quick = row_ns < INLINE_NS
        self.is_instant = row_ns < AT_ONCE_NS
        """True if a request of a few rows needs no place in the queue."""
        self._max_rows = max_rows
        self._max_queued_rows = max_queued_rows
        self._waiting: deque[_Waiting] = deque()
        self._is_running = False
        self._numbers = count(1)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @property
    def queued_rows(self) -> int:
        """Rows that wait for the model."""
        return self._queued[self._model or 0]

    def predict_at_once(self, columns: Columns) -> Answer | None:
        """Predicts with a model that needs only microseconds; None if the request has to queue.

        The batch is counted with the event of its only request.

        Raises what the predictor raises.
        """
        n_rows = len(columns)
        if not self.is_instant or n_rows > INLINE_ROWS:
            return None
        prediction = self._predictor.predict(columns)
        return Answer(prediction, next(self._numbers), n_rows, prediction.marks[0])

    async def predict(self, columns: Columns, gone: Gone | None = None, slot: int = -1) -> Answer:
        """Waits for the model and returns this request's predictions.

        slot: of the request among those in flight.
        gone: returns when the client has left; a request that waits behind a batch then gives up its place.
        Raises QueueFullError at once if too many rows wait already, ClientGoneError, and what the predictor
        raises.
        """
        n_rows = len(columns)
        if self._waiting and self.queued_rows + n_rows > self._max_queued_rows:
            raise QueueFullError(f"{self.queued_rows} rows wait for the model already; try again in a second")
        loop = asyncio.get_running_loop()
        item = _Waiting(columns, loop.create_future(), perf_counter_ns(), slot)
        self._waiting.append(item)
        self._queued[self._model or 0] += n_rows
        if not self._is_running:
            self._is_running = True
            # In an empty context: a batch belongs to several requests, so to no single trace.
            loop.call_soon(self._start, context=Context())
            gone = None  # it is next in line: watching would cost more than it could save
        watch = loop.create_task(gone()) if gone is not None else None
        try:
            if watch is not None:
                watch.add_done_callback(lambda _: item.future.cancel())
            return await item.future
        except asyncio.CancelledError:
            self._give_up(item)
            if watch is not None and watch.done() and not watch.cancelled():
                raise ClientGoneError from None
            raise
        finally:
            if watch is not None:
                watch.cancel()

    def close(self) -> None:
        """Lets the thread end once it is idle."""
        self._executor.shutdown(wait=False)

    def _give_up(self, item: _Waiting) -> None:
        """Leaves the queue, so that no other request is refused for a place that is not needed."""
        if item in self._waiting:
            self._waiting.remove(item)
            self._queued[self._model or 0] -= len(item.columns)

    def _start(self) -> None:
        items = self._take()
        if not items:
            self._is_running = False
            return
        if self._slots is not None:
            for item in items:
                self._slots.phase(item.slot, PREDICTING)
        if self._is_quick and sum(len(item.columns) for item in items) <= INLINE_ROWS:
            self._finish(items, self._predict(items))
            return
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._predict, items)
        running.add_done_callback(lambda done: self._finish(items, done.result()))

    def _take(self) -> list[_Waiting]:
        """Takes the next requests in line, as many as fit; one alone where dtypes of others would change it."""
        items: list[_Waiting] = []
        n_rows = 0
        while self._waiting and (not items or n_rows + len(self._waiting[0].columns) <= self._max_rows):
            item = self._waiting.popleft()
            self._queued[self._model or 0] -= len(item.columns)
            if not item.future.cancelled():
                items.append(item)
                n_rows += len(item.columns)
                if self._predictor.depends_on_dtypes:
                    break
        return items

    def _predict(self, items: Sequence[_Waiting]) -> list[_Outcome]:
        try:
            return list(self._predict_together(items))
        except Exception as error:
            if len(items) == 1 and isinstance(error, SightlineError):
                return [error]
            if len(items) == 1:
                return [PredictionFailedError(f"the model failed with {type(error).__name__}")]
        # One request's rows made the model raise; the others are predicted one by one.
        return [outcome for item in items for outcome in self._predict([item])]

    def _predict_together(self, items: Sequence[_Waiting]) -> list[Answer]:
        columns = join_columns([item.columns for item in items])
        prediction = self._predictor.predict(columns)
        number, n_rows = next(self._numbers), len(columns)
        if len(items) == 1:
            return [Answer(prediction, number, n_rows, items[0].queued_ns)]
        answers, row = [], 0
        for item in items:
            stop = row + len(item.columns)
            answers.append(Answer(prediction.part(row, stop), number, n_rows, item.queued_ns))
            row = stop
        return answers

    def _finish(self, items: Sequence[_Waiting], outcomes: Sequence[_Outcome]) -> None:
        if self._model is not None:
            try:
                for batch in batch_events(self._model, outcomes):
                    self._write(batch)
            except Exception:  # those who wait for the answers must get them
                self._faults.note("recording")
        for item, outcome in zip(items, outcomes, strict=True):
            if item.future.cancelled():
                continue
            if isinstance(outcome, Answer):
                item.future.set_result(outcome)
            else:
                item.future.set_exception(outcome)
        self._start()


def batch_events(model: int, outcomes: Sequence[_Outcome]) -> Iterator[bytes]:
    """Yields an event for each batch that some requests were predicted in."""
    batches: dict[int, list[Answer]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Answer):
            batches.setdefault(outcome.batch, []).append(outcome)
    for answers in batches.values():
        marks = answers[0].prediction.marks
        yield batch_event(model, answers[0].batch_rows, marks, [marks[0] - answer.queued_ns for answer in answers])


def measure_row_ns(predictor: Predictor, columns: Columns, rounds: int = 5) -> int:
    """Returns how long the model takes for some columns: the median of some rounds, the first one not counted."""
    times = []
    for _ in range(rounds + 1):
        start_ns = perf_counter_ns()
        predictor.predict(columns)
        times.append(perf_counter_ns() - start_ns)
    return sorted(times[1:])[rounds // 2]
