"""What a worker leaves in shared memory, and what a forked child of it does not."""

import os
import subprocess
import sys

import pytest

# A child does all that a worker does; then the parent looks whether its memory is as before, and goes on itself.
_FORK = """
import os, sys, threading
from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.layout import LOG, body_event
from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.seats import SeatSizes
from sightline_telemetry.events.slots import PREDICTING
from sightline_telemetry.observer.worker_sink import GrantedByWorkers, WorkerSink

def memory():
    return os.pread(board.fd, os.fstat(board.fd).st_size, 0)

def work():
    for _ in range(1000):
        sink.write(body_event(LOG, b"x" * 100))
        sink.write_aside(body_event(LOG, b"y" * 100))
    sink.active[3] += 1
    sink.queued[1] += 4
    sink.beat()
    sink.is_ready()
    sink.slots.release(slot)
    sink.slots.phase(sink.slots.take(1, 2, 3, 4, 5, 6, 7), PREDICTING)
    granted.grant(7)

board = Board.create(2, BoardSizes(seat=SeatSizes(65536, 65536, overflow_block=8192)))
board.seat(0).process.begin()
sink, granted = WorkerSink(board, 0), GrantedByWorkers(board, 0)
sink.describe(SeriesTable(Description(())))
slot = sink.slots.take(1, 2, 3, 4, 5, 6, 7)
sink.write(body_event(LOG, b"before"))
before = memory()
for _ in range(2):
    sink._lock.acquire()  # as if a thread of the parent wrote in this moment
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    sink._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    assert memory() == before
work()
assert memory() != before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_changes_nothing() -> None:
    """Events, gauges, heartbeat, slots and granted traces of a forked child reach no shared memory."""
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
