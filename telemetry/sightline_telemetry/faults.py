"""Catches faults of the telemetry at one boundary: each is counted, the first per place is logged, none is raised."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sightline_telemetry.events.layout import FAULT, body_event

_log = logging.getLogger(__name__)


class Faults:
    """Notes the faults of the telemetry itself, by the place where they occurred, as events.

    write: takes an event from any thread; see EventSink.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._logged: set[str] = set()

    @contextmanager
    def contained(self, place: str) -> Iterator[None]:
        """Catches and counts any exception of its block, so that it cannot fail a request."""
        try:
            yield
        except Exception:
            self.note(place)

    def note(self, place: str) -> None:
        """Counts the exception that is being handled, and logs the first one per place."""
        if self._is_first(place):
            _log.exception("telemetry fault in %s; later faults there are only counted (sightline_faults_total)", place)
        self._write(body_event(FAULT, place.encode()))

    def lose(self, place: str, n: int = 1) -> None:
        """Counts items that had to be dropped; logs nothing, because it may be the log that drops."""
        for _ in range(n):
            self._write(body_event(FAULT, place.encode()))

    def _is_first(self, place: str) -> bool:
        is_first = place not in self._logged
        self._logged.add(place)
        return is_first
