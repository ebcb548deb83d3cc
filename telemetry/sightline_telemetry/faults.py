"""The boundary at which a fault of the telemetry ends: logged once for each place, counted, never raised."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class Faults:
    """Counts what went wrong in the telemetry itself, by place."""

    def __init__(self, *places: str) -> None:
        self.counts = dict.fromkeys(places, 0)

    @contextmanager
    def contained(self, place: str) -> Iterator[None]:
        """Ends any exception of its block here, so that no request ever sees it."""
        try:
            yield
        except Exception:
            self.note(place)

    def note(self, place: str) -> None:
        """Counts the exception that is being handled; logs it the first time."""
        if not self.counts.get(place):
            _log.exception("telemetry fault in %s; later ones are only counted (sightline_faults_total)", place)
        self.counts[place] = self.counts.get(place, 0) + 1

    def lose(self, place: str) -> None:
        """Counts something that had to be dropped; logs it the first time."""
        if not self.counts.get(place):
            _log.warning("%s lost something; what else it loses is only counted (sightline_faults_total)", place)
        self.counts[place] = self.counts.get(place, 0) + 1
