"""A worker whose ring is full counts by itself, under the names that the service has described."""

from pathlib import Path

from sightline_service.app import create_app
from sightline_service.telemetry import TailSampled
from sightline_telemetry.counts.fold import fold
from sightline_telemetry.events.layout import FAULT, LOG, body_event
from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.ring import RingReader
from sightline_telemetry.events.seats import SeatSizes
from sightline_telemetry.observer.overflow import PLACE, read_overflow
from sightline_telemetry.observer.worker_sink import WorkerSink
from tests.telemetry.serving import ENDED, written

N_REQUESTS = 5_000


def test_no_request_is_lost_while_no_observer_reads(small_bundle: Path) -> None:
    """Of thousands of requests the ring holds the first ones; the others are counted, and as many lost lines."""
    telemetry = create_app(bundle=small_bundle).state.parts.telemetry
    assert isinstance(telemetry, TailSampled)
    table = telemetry.process.observer.table
    board = Board.create(1, BoardSizes(seat=SeatSizes(request_ring=65_536, side_ring=65_536, overflow_block=8_192)))
    sink = WorkerSink(board, 0)
    sink.describe(table)
    for _ in range(N_REQUESTS):
        sink.write(written(ENDED))
    seat = board.seat(0)
    in_ring = RingReader(seat.request_ring, 0).read(limit_bytes=65_536)
    overflow = read_overflow(seat, table)
    assert overflow is not None
    assert 100 < len(in_ring) < N_REQUESTS
    counted = overflow + fold(in_ring, table)
    assert sum(snapshot.count for _, snapshot in counted.durations(table)) == N_REQUESTS
    lost = {series.attributes["place"]: n for series, n in counted.numbers(table) if "place" in series.attributes}
    assert lost.pop(PLACE) == N_REQUESTS - len(in_ring)
    assert set(lost.values()) == {0}


def test_side_events_that_were_dropped_are_counted(small_bundle: Path) -> None:
    """What finds no room in the second ring is counted, as soon as there is room again."""
    table = create_app(bundle=small_bundle).state.parts.telemetry.process.observer.table
    board = Board.create(1, BoardSizes(seat=SeatSizes(request_ring=65_536, side_ring=65_536)))
    sink, line = WorkerSink(board, 0), body_event(LOG, b"x" * 4096)
    for _ in range(20):
        sink.write_aside(line)
    reader = RingReader(board.seat(0).side_ring, 0)
    n_read = len(reader.read(limit_bytes=65_536))
    reader.release(reader.position)
    for _ in range(20 - n_read):
        sink.write_aside(body_event(FAULT, b"reading"))
    counted = fold(reader.read(limit_bytes=65_536), table)
    lost = {series.attributes["place"]: n for series, n in counted.numbers(table) if "place" in series.attributes}
    assert (lost["reading"], lost[PLACE]) == (20 - n_read, 20 - n_read)
