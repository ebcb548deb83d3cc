"""An observer in the process that it observes: a thread folds the events, and so does every scrape."""

import os
from collections.abc import Mapping
from threading import Event, Thread

from sightline_telemetry.counts.description import Description
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.gauges import Gauges
from sightline_telemetry.observer.observer import Observer, ObserverOptions
from sightline_telemetry.requests.recording import EventList

_FOLDS_EVERY_S = 0.05


class InProcessObserver:
    """Observes the process that it runs in; events wait in a list for a thread."""

    def __init__(
        self,
        events: EventList,
        description: Description,
        options: ObserverOptions,
        faults: Faults,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._events = events
        self._faults = faults
        self._stopping = Event()
        self._thread: Thread | None = None
        self.observer = Observer(
            description, options, faults, lambda: Gauges(events.active, events.queued), self.fold, environment
        )

    def fold(self) -> None:
        """Counts all events that wait, and does what follows from them."""
        self.observer.take(self._events.read)

    def start(self) -> None:
        """Starts the thread that folds, and the exports."""
        self.observer.start()
        self._stopping.clear()
        self._thread = Thread(target=self._fold_on, name="observer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Folds what is left, sends it, and stops."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self.observer.stop()

    def _fold_on(self) -> None:
        while not self._stopping.wait(_FOLDS_EVERY_S):
            with self._faults.contained("reading"):
                self.fold()
