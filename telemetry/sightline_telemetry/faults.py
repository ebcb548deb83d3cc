"""Catches faults of the telemetry at one boundary: each is counted, the first per place is logged, none is raised."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class Faults:
    """Counts the faults of the telemetry itself, by the place where they occurred."""

    def __init__(self, *places: str) -> None:
        self.counts = dict.fromkeys(places, 0)

    @contextmanager
    def contained(self, place: str) -> Iterator[None]:
        """Catches and counts any exception of its block, so that it cannot fail a request."""
        try:
            yield
        except Exception:
            self.note(place)

    def note(self, place: str) -> None:
        """Counts the exception that is being handled, and logs the first one per place."""
        if not self.counts.get(place):
            _log.exception("telemetry fault in %s; later faults there are only counted (sightline_faults_total)", place)
        self.counts[place] = self.counts.get(place, 0) + 1

    def lose(self, place: str) -> None:
        """Counts an item that had to be dropped, and logs the first one per place."""
        if not self.counts.get(place):
            _log.warning("%s dropped an item; later drops are only counted (sightline_faults_total)", place)
        self.counts[place] = self.counts.get(place, 0) + 1
