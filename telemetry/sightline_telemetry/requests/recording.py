"""Where the events of one process go, and the numbers that rise and fall while requests run."""

from collections.abc import Iterator
from typing import Protocol

from sightline_telemetry.events.http_codes import SCHEMES
from sightline_telemetry.events.seats import N_ACTIVE, N_QUEUES
from sightline_telemetry.events.slots import SlotTable

N_SCHEMES = len(SCHEMES)


class Words(Protocol):
    """Integers that are changed in place: a list, or words of shared memory."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...

    def __iter__(self) -> Iterator[int]: ...


class EventList:
    """Holds the events of a process that is its own observer, until they are read."""

    def __init__(self) -> None:
        self.active: Words = [0] * N_ACTIVE
        self.queued: Words = [0] * N_QUEUES
        self.slots: SlotTable | None = None
        self._waiting: list[bytes] = []
        self.write = self._waiting.append
        self.write_aside = self._waiting.append

    def read(self) -> list[bytes]:
        """Takes all events; one thread at a time may read."""
        n = len(self._waiting)
        events = self._waiting[:n]
        del self._waiting[:n]
        return events


class EventSink(Protocol):
    """Takes the events of one process.

    active: (N_ACTIVE,) requests that run now. queued: (N_QUEUES,) rows that wait for each model.
    slots: where requests in flight are seen by other processes; None if no other process watches.
    """

    active: Words
    queued: Words
    slots: SlotTable | None

    def write(self, event: bytes) -> None:
        """Takes an event from the event loop's thread."""

    def write_aside(self, event: bytes) -> None:
        """Takes an event from any thread."""
