"""Kills a worker and reads, from the memory that it shared, which requests were in flight in it."""

import os
import signal
from dataclasses import dataclass

from benchmarks.fire.service import Service
from sightline_telemetry.events.layout import REQUEST, read_request
from sightline_telemetry.events.ring import RingReader
from tests.stack.polling import poll_until

_RECORD_BYTES = 16
"""Records of a ring begin at multiples of it, and each takes twice as much at least."""

_LOOK_BACK_BYTES = 1 << 20
"""More than a worker publishes while a request that was published still has its slot."""


@dataclass(frozen=True, slots=True)
class Named:
    """A request that stood in a slot of a killed worker. is_published: its event was in a ring, so it is counted.

    A worker whose ring is full counts large requests without an event: such a one may be counted, too.
    """

    trace_id: int
    is_published: bool


def kill_worker(service: Service, index: int) -> list[Named]:
    """Kills one worker that serves, by SIGKILL; returns the requests that its slots name."""
    seat = service.board.seat(index)
    words = seat.process
    generation = words.generation
    os.kill(words.pid, signal.SIGKILL)
    poll_until(lambda: words.ended(generation), 10, 0.001)
    in_flight = seat.slots(generation).read()
    published = _published(seat.request_ring) | _published(seat.overflow_block)
    return [Named(each.trace_id, (each.slot, each.span_id) in published) for each in in_flight]


def _published(ring: memoryview) -> set[tuple[int, int]]:
    """Returns slot and span id of the requests that were published last, those that are released among them.

    Where a record begins is not known, so every place is tried: a record carries its position and a checksum.
    """
    found: set[tuple[int, int]] = set()
    end = RingReader(ring, 0).published
    for position in range(max(0, end - _LOOK_BACK_BYTES), end, _RECORD_BYTES):
        events = RingReader(ring, position).read(position + 2 * _RECORD_BYTES)
        requests = [read_request(event) for event in events if event[0] == REQUEST]
        found |= {(request.slot, request.span_id) for request in requests}
    return found
