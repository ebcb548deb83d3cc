"""Boards of small services, what their workers write, and what observes them."""

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.memory import Board, BoardSizes
from sightline_telemetry.events.seats import SeatSizes
from sightline_telemetry.observer.process import BoardObserver
from sightline_telemetry.observer.worker_sink import WorkerSink
from tests.telemetry.serving import describe

SMALL = BoardSizes(counts=1 << 20, seat=SeatSizes(request_ring=65_536, side_ring=16_384, overflow_block=8_192))


def sink_of(board: Board, index: int, model: DescribedModel) -> WorkerSink:
    """What one worker writes its events into."""
    sink = WorkerSink(board, index)
    sink.describe(SeriesTable(describe(model)))
    return sink


def observer_of(board: Board) -> BoardObserver:
    """A new observer, as after each start of its process."""
    description = board.description()
    assert description is not None
    return BoardObserver(board, description)


def faults_of(observer: BoardObserver) -> dict[str, int]:
    """The faults that were counted, by their place."""
    numbers = observer.observer.counts.numbers(observer.observer.table)
    return {str(series.attributes["place"]): n for series, n in numbers if "place" in series.attributes}
