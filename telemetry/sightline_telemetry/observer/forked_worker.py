"""Where the measurements of a forked worker count, if an observer process counts for all workers."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.layout import COUNTS, body_event
from sightline_telemetry.observer.answers import ask_blocking
from sightline_telemetry.observer.guest import measured


class ForkedWorker:
    """This process as one of the workers that an observer process counts for; children of it are not.

    write: takes an event from any thread. socket_path: where the observer answers.
    """

    _entered: ClassVar["ForkedWorker | None"] = None  # of the process: an app makes its measurements apart from it

    def __init__(self, table: SeriesTable, write: Callable[[bytes], None], socket_path: str) -> None:
        self.table = table
        self._write = write
        self._socket_path = socket_path
        self.pid = os.getpid()

    def enter(self) -> None:
        """Has the measurements of this process count here from their start on."""
        ForkedWorker._entered = self

    @classmethod
    def of_this_process(cls) -> "ForkedWorker | None":
        """Returns the worker that this process is; None for any other process."""
        worker = cls._entered
        return worker if worker is not None and worker.pid == os.getpid() else None

    def place(self, model: DescribedModel) -> int | None:
        """Returns the index of a model among those that the observer counts, None if it does not know this profile."""
        digest = measured(model).digest
        models = self.table.description.models
        return next((index for index, known in enumerate(models) if measured(known).digest == digest), None)

    def add(self, counts: Counts) -> None:
        """Hands counts to the observer: they are in every scrape that begins after this call."""
        self._write(body_event(COUNTS, counts.to_bytes()))

    def write_aside(self, event: bytes) -> None:
        """Takes the event of a fault; it is dropped where not even that can be written."""
        with suppress(Exception):
            self._write(event)

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns the counts of all workers and their content type. Raises NoAnswerError while the observer is away."""
        head, body = ask_blocking(self._socket_path, {"what": "metrics", "accept": accept})
        return body, head["content_type"]
