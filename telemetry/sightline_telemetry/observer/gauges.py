"""What rises and falls in a service, and is therefore not counted by events."""

import signal
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sightline_telemetry.events.endings import name_of_signal
from sightline_telemetry.events.seats import Seat

_USUAL_SIGNALS = (0, signal.SIGSEGV, signal.SIGKILL)
"""Their series exist before a worker has died of them."""


class Gauges(NamedTuple):
    """What rises and falls: requests that run and rows that wait, as EventSink has them, and workers that died."""

    active: Iterable[int]
    queued: Iterable[int]
    deaths: Mapping[str, int] = MappingProxyType({})


def read_gauges(seats: Sequence[Seat]) -> Gauges:
    """Returns the sums over all workers of a board."""
    deaths = _added([seat.deaths for seat in seats])
    return Gauges(
        _added([seat.active for seat in seats]),
        _added([seat.queued for seat in seats]),
        {name_of_signal(number): n for number, n in enumerate(deaths) if n or number in _USUAL_SIGNALS},
    )


def _added(words: Sequence[memoryview]) -> list[int]:
    return [sum(each) for each in zip(*words, strict=True)]
