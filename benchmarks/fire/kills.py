"""Kills a worker and reads, from the memory that it shared, which requests were in flight in it."""

import os
import signal
from dataclasses import dataclass
from time import sleep

from benchmarks.fire.service import Service
from sightline_telemetry.events.layout import REQUEST, slot_of
from sightline_telemetry.events.ring import RingReader
from tests.stack.polling import poll_until

_LOOK_BACK_S = 0.2
"""Far longer than a request keeps its slot after it was published, so its event lies behind the reader's position."""


@dataclass(frozen=True, slots=True)
class Named:
    """A request that stood in a slot of a killed worker. is_published: it had been counted by then."""

    trace_id: int
    is_published: bool


def kill_worker(service: Service, index: int) -> list[Named]:
    """Kills one worker that serves, by SIGKILL; returns the requests that its slots name."""
    seat = service.board.seat(index)
    words = seat.process
    generation, pid = words.generation, words.pid
    requests = _reader(seat.request_ring)
    sleep(_LOOK_BACK_S)
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: words.ended(generation), 10, 0.001)
    in_flight = seat.slots(generation).read()
    published = _published(requests) | _published(_reader(seat.overflow_block))
    return [Named(each.trace_id, (each.slot, each.span_id) in published) for each in in_flight]


def _reader(ring: memoryview) -> RingReader:
    """Returns a reader of what a ring holds that its own reader has not released; it releases nothing."""
    position = RingReader(ring, 0).released
    return RingReader(ring, position)


def _published(reader: RingReader) -> set[tuple[int, int]]:
    """Returns slot and span id of the requests that were published since the reader was made."""
    found: set[tuple[int, int]] = set()
    while events := reader.read():
        found |= {slot_of(event) for event in events if event[0] == REQUEST}
    return found
