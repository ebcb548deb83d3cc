"""Measures predictions made anywhere: in a Flask app, a Celery task, a nightly batch.

    profile = profile_frame(X, y, model.predict(X), model.predict_proba(X))  # once, of the training data

    with Measurement("churn", "3", profile) as measure:
        measure(data, model.predict(data), model.predict_proba(data))

The counts are the service's own, under the same names. They leave by OTLP, as the OTEL_* variables set it, or are
read with `scrape`, or both. An app that keeps running needs no `with`: counts leave every few seconds, and at exit.
"""

import atexit
import logging
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.fold import Block
from sightline_telemetry.counts.series import ModelSeries, SeriesTable
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.dataframes import FrameReader
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.observer.forked_worker import ForkedWorker
from sightline_telemetry.observer.guest import OPTIONS, measured
from sightline_telemetry.observer.in_process import InProcessObserver
from sightline_telemetry.requests.recording import EventList

CHUNK_ROWS = 65_536
"""Rows that are turned into arrays together: about ten megabytes for twenty features, however long the data are."""

_FLUSH_S = 1.0

_log = logging.getLogger(__name__)


class Counting(Protocol):
    """Where counts go, and where all of them are read: an observer in this process, or the one of all workers."""

    @property
    def table(self) -> SeriesTable:
        """The series of all models that are counted there."""

    def add(self, counts: Counts) -> None:
        """Adds counts."""

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns all counts and their content type."""


class Measurement:
    """Counts one model's predictions and exports the counts.

    The counts are those of this process, or, in a worker of a server that calls `observe`, those of all its workers.
    profile: what the model was trained on; `profile_frame` makes one, `load_profile` reads a
    bundle's. Nothing starts before the first prediction is measured, or `start`. After a fork the child counts
    from 0 under an identity of its own. A fault of the measuring is logged once and counted, never raised.
    What only a server knows (requests, queues, times of steps) is left to the app.

    >>> from sightline_telemetry import profile_frame
    >>> data = {"age": [41, 38, 27], "city": ["Bern", "Rome", "Bern"]}
    >>> profile = profile_frame(data, ["no", "yes", "no"], ["no", "yes", "yes"])
    >>> with Measurement("churn", "3", profile) as measure:
    ...     measure([{"age": 33, "city": "Oslo"}, {"age": None, "city": "Bern"}], ["no", "yes"])
    ...     text, content_type = measure.scrape()
    >>> b'ml_feature_missing_total{feature="age",model_name="churn",model_version="3"} 1.0' in text
    True
    """

    def __init__(self, name: str, version: str, profile: ReferenceProfile) -> None:
        self._model = DescribedModel(ModelId(name, version), profile)
        self.profile = profile
        self._reader = FrameReader(profile)
        self._is_closed = self._is_started = False
        self._begin()
        if hasattr(os, "register_at_fork"):
            _begin_in_children(weakref.WeakMethod(self._begin))

    def __call__(self, data: Any, predicted: Any, probabilities: Any = None) -> None:
        """Counts n_rows rows of data and what the model predicted for them.

        data: a DataFrame of pandas or polars, a pyarrow Table, a dict of columns, a list of dicts, or an array of
        (n_rows, n_features) in the order of the profile. Columns that are not features are left out.
        predicted: (n_rows,) labels, or numbers in regression. probabilities: (n_rows, n_classes), if there are any.
        """
        with self.contained():
            table, outputs = self._reader.table(data), np.asarray(predicted)
            scores = None if probabilities is None else np.asarray(probabilities)
            if len(outputs) != table.n_rows:
                raise ValueError(f"there are {table.n_rows} rows and {len(outputs)} predictions")
            for part, rows in table.parts(CHUNK_ROWS):
                likely = None if scores is None else scores[part]
                with self.counting() as (block, series):
                    block.add_predicted(series, self._reader.rows(rows, outputs[part], likely))
            with self.counting() as (block, _):
                block.add_batch(self._place, table.n_rows, (), ())

    def outputs(self, predicted: Any, probabilities: Any = None) -> None:
        """Counts what the model predicted, where drop-in transformers count its inputs."""
        with self.contained(), self.counting() as (block, series):
            block.add_outputs(series, *self._reader.outputs(predicted, probabilities))

    @contextmanager
    def counting(self) -> Iterator[tuple[Block, ModelSeries]]:
        """Adds what its block counts to the counts, all at once or, if it raises, not at all."""
        block = Block(self._counting.table)
        yield block, self._counting.table.models[self._place]
        self._counting.add(block.counts())

    @contextmanager
    def contained(self) -> Iterator[None]:
        """Starts the export before its block, and ends any fault of the block here."""
        with self._faults.contained("measurement"):
            self.start()
        with self._faults.contained("measurement"):
            yield

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """All counts and their content type: OpenMetrics or classic text, as an Accept header requests it.

        Raises ConnectionError where another process counts (`observe`) and does not answer within about a second:
        it is being started again, and has all counts afterwards.
        """
        self.start()
        return self._counting.scrape(accept)

    def start(self, wait_s: float = 0.0) -> None:
        """Sends every series at 0, so that what follows is an increase; wait_s: how long to wait until that is done.

        Needed only to have the series before the first prediction.
        """
        with self._starting:
            if self._is_started or self._is_closed:
                return
            self._is_started = True
            if self._joins_workers():
                return
            self._process.start()
            atexit.register(self.close)
            if parent_process() is not None:  # a forked child of multiprocessing ends without atexit before 3.14
                Finalize(None, self.close, exitpriority=0)
        self._process.observer.providers.flush(wait_s)

    def close(self) -> None:
        """Sends what is left, within a few seconds, and stops; what is measured later leaves no more."""
        atexit.unregister(self.close)
        was_closed, self._is_closed = self._is_closed, True
        if self._is_started and not was_closed and self._counting is self._process.observer:
            self._process.stop()

    def __enter__(self) -> Self:
        self.start(_FLUSH_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        """All that must not outlive a fork: counts, locks, threads."""
        self._starting: Lock = Lock()
        self._is_started = False
        events = EventList()
        self._faults = Faults(events.write_aside)
        self._process = InProcessObserver(events, measured(self._model), OPTIONS, self._faults)
        self._counting: Counting = self._process.observer
        self._place = 0

    def _joins_workers(self) -> bool:
        """Counts from now on at the observer of all workers, if this process is one of them; returns whether it is."""
        worker = ForkedWorker.of_this_process()
        if worker is None:
            return False
        place = worker.place(self._model)
        if place is None:
            problem = "%s is counted for this worker alone: the observer has no such model with this profile"
            _log.warning(problem, self._model.id)
            return False
        self._counting, self._place, self._faults = worker, place, Faults(worker.write_aside)
        return True


def _begin_in_children(begin: "weakref.WeakMethod[Callable[[], None]]") -> None:
    """Resets a measurement in forked children for as long as it exists; a hook of `os` cannot be removed."""

    def hook() -> None:
        alive = begin()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=hook)
