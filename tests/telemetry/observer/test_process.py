"""The observer of a board, against workers whose events this process writes itself."""

import json
import signal
from io import StringIO
from unittest.mock import patch

import pytest

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.events.memory import Board
from sightline_telemetry.events.ring import RingReader
from sightline_telemetry.events.slots import ANSWERED, PREDICTING
from sightline_telemetry.observer.description import describe as describe_service
from sightline_telemetry.observer.description import read_described
from sightline_telemetry.observer.observer import ObserverOptions
from sightline_telemetry.observer.process import BoardObserver
from sightline_telemetry.observer.standstill import Standstill
from sightline_telemetry.observer.worker_sink import GrantedByWorkers
from sightline_telemetry.requests.allowance import Allowance
from sightline_telemetry.traces.tail_sampling import Reason, SamplingRules
from tests.telemetry.clock import Clock
from tests.telemetry.observer.boards import faults_of, observer_of, sink_of
from tests.telemetry.serving import ENDED, describe, written

pytestmark = pytest.mark.usefixtures("no_otel_variables")


def n_requests(observer: BoardObserver) -> int:
    """Returns how many requests were counted, in the workers' own counts too."""
    observer.fold_all()
    counts: Counts = observer.observer.counts
    if observer.observer.overflow is not None:
        counts += observer.observer.overflow
    return sum(snapshot.count for _, snapshot in counts.durations(observer.observer.table))


def test_the_description_survives_its_way_through_the_board(model: DescribedModel) -> None:
    """Options and description are read as they were written."""
    rules = SamplingRules(slow_s=0.25, share=0.5, allowances=dict.fromkeys(Reason, 7.0))
    options = ObserverOptions(rules, has_ring=True, logs_requests=False, standstill_s=2.0, ends_standstill=True)
    assert read_described(describe_service(describe(model), options)) == (describe(model), options)


def test_all_workers_are_counted_as_one(board: Board, model: DescribedModel) -> None:
    """Requests of two workers add up."""
    observer = observer_of(board)
    for index, n in enumerate((3, 4)):
        sink = sink_of(board, index, model)
        for _ in range(n):
            sink.write(written(ENDED))
    assert n_requests(observer) == 7


def test_a_new_observer_loses_and_doubles_nothing(board: Board, model: DescribedModel) -> None:
    """Each of many observers goes on where the one before it has committed."""
    sink = sink_of(board, 0, model)
    for n in range(1, 6):
        sink.write(written(ENDED))
        assert n_requests(observer_of(board)) == n


def test_a_full_ring_loses_no_count(board: Board, model: DescribedModel) -> None:
    """What found no room is counted by the worker, and added by the observer; a successor of the worker goes on."""
    sink = sink_of(board, 0, model)
    for _ in range(2_000):
        sink.write(written(ENDED))
    board.seat(0).process.begin()
    successor = sink_of(board, 0, model)
    for _ in range(500):
        successor.write(written(ENDED))
    observer = observer_of(board)
    assert n_requests(observer) == 2_500
    successor.write(written(ENDED))
    assert n_requests(observer) == 2_501


def test_what_an_earlier_worker_counted_may_be_torn(board: Board, model: DescribedModel) -> None:
    """A worker that cannot read what the one before it has counted begins at zero, says so, and serves."""
    sink = sink_of(board, 0, model)
    for _ in range(2_000):
        sink.write(written(ENDED))
    n_before = n_requests(observer_of(board))
    memory = board.seat(0).overflow._data  # noqa: SLF001  # what another program may do
    memory[: len(memory)] = bytes(len(memory))
    board.seat(0).process.begin()
    successor = sink_of(board, 0, model)
    observer = observer_of(board)
    n_left = n_requests(observer)
    assert 0 < n_left < n_before
    assert faults_of(observer)["checkpoint"] == 1
    successor.write(written(ENDED))
    assert n_requests(observer) == n_left + 1


@pytest.mark.parametrize("committed", [b"torn", None], ids=["of another service", "torn"])
def test_a_checkpoint_that_cannot_be_read_is_a_fault(
    board: Board, model: DescribedModel, committed: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What was committed is lost then, and that is logged and counted; what workers still keep is counted once."""
    sink = sink_of(board, 0, model)
    sink.write(written(ENDED))
    assert n_requests(observer_of(board)) == 1
    if committed is None:
        with patch("sightline_telemetry.events.copies.crc32", return_value=1):
            board.commit(b"whatever")
    else:
        board.commit(committed)
    sink.write(written(ENDED))
    observer = observer_of(board)
    assert n_requests(observer) == 1
    assert faults_of(observer)["checkpoint"] == 1
    assert [record.levelname for record in caplog.records if "checkpoint" in record.message] == ["ERROR"]


def test_a_long_backlog_is_counted_in_blocks(board: Board, model: DescribedModel) -> None:
    """Between blocks the counts are committed and the ring is free again; what is published later is left."""
    sink, observer = sink_of(board, 0, model), observer_of(board)
    reader, commit = RingReader(board.seat(0).request_ring, 0), board.commit
    released: list[int] = []

    def note_and_commit(data: bytes) -> None:
        commit(data)
        sink.write(written(ENDED))
        released.append(reader.released)

    for _ in range(400):
        sink.write(written(ENDED))
    published = reader.published
    with (
        patch.object(RingReader.read, "__defaults__", (None, 8_192)),
        patch.object(board, "commit", note_and_commit),
    ):
        observer.fold()
    n_blocks = len(released)
    assert n_blocks > 3
    assert released[1] > 8_000
    assert sum(s.count for _, s in observer.observer.counts.durations(observer.observer.table)) == 400
    assert reader.released == published
    assert n_requests(observer) == 400 + n_blocks


def test_a_torn_event_costs_its_ring_only(board: Board, model: DescribedModel) -> None:
    """A ring with a broken event is refused after a while; the other ring, and what comes later, are counted."""
    first, second = sink_of(board, 0, model), sink_of(board, 1, model)
    first.write(written(ENDED))
    second.write(written(ENDED))
    board.seat(0).request_ring[160] ^= 0xFF
    observer = observer_of(board)
    assert n_requests(observer) == 1
    with patch("sightline_telemetry.observer.seat_reader.TORN_S", 0.0):
        assert n_requests(observer) == 1
    first.write(written(ENDED))
    assert n_requests(observer) == 2
    assert faults_of(observer)["ring_full"] == 1


def test_a_dead_worker_names_its_requests(board: Board, model: DescribedModel) -> None:
    """A request that was predicted becomes a failed trace that says which signal ended its worker; so does the log."""
    observer = observer_of(board)
    observer.observer.providers.start()
    observer.observer.log._stream = stream = StringIO()  # noqa: SLF001  # the process writes to stdout
    sink = sink_of(board, 0, model)
    assert sink.slots is not None
    slot = sink.slots.take(1, 2, 3, 10, 20, 0, 7)
    sink.slots.phase(slot, PREDICTING)
    board.seat(0).end(signal.SIGSEGV, is_death=True)
    observer.fold_all()
    observer.observer.log.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["error.type"], line.get("trace_id")) for line in lines] == [
        ("SIGSEGV", f"{1 << 64 | 2:032x}"),
        ("SIGSEGV", None),
    ]
    assert observer.observer.ring is not None
    trace = observer.observer.ring.read(1 << 64 | 2)
    assert trace is not None
    (span,) = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["status"]["message"] == "SIGSEGV ended worker 0"
    assert b'sightline_worker_deaths_total{signal="SIGSEGV"} 1.0' in observer.observer.providers.scrape.render("")[0]
    observer.observer.providers.shutdown()


def test_a_request_that_was_published_did_not_fail(board: Board, model: DescribedModel) -> None:
    """A request that has its event but still its slot is named as unsent, not as failed."""
    observer = observer_of(board)
    observer.observer.log._stream = stream = StringIO()  # noqa: SLF001
    sink = sink_of(board, 0, model)
    assert sink.slots is not None
    slot = sink.slots.take(ENDED.trace_hi, ENDED.trace_lo, ENDED.span_id, 10, 20, 0, 7)
    sink.write(written(ENDED._replace(slot=slot)))
    board.seat(0).end(signal.SIGKILL, is_death=True)
    observer.fold_all()
    observer.observer.log.flush()
    *_, last = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (last["in_flight"], last["unsent"]) == (0, 1)


def test_a_request_that_an_earlier_observer_counted_did_not_fail(board: Board, model: DescribedModel) -> None:
    """An observer that starts after a request was counted, and before its slot was released, does not name it."""
    sink = sink_of(board, 0, model)
    assert sink.slots is not None
    slot = sink.slots.take(ENDED.trace_hi, ENDED.trace_lo, ENDED.span_id, 10, 20, 0, 7)
    sink.write(written(ENDED._replace(slot=slot)))
    sink.slots.phase(slot, ANSWERED)
    observer_of(board).fold()
    board.seat(0).end(signal.SIGKILL, is_death=True)
    observer = observer_of(board)
    observer.observer.log._stream = stream = StringIO()  # noqa: SLF001
    observer.fold_all()
    observer.observer.log.flush()
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["in_flight"], line["unsent"]) == (0, 1)


def test_workers_share_one_allowance(board: Board) -> None:
    """Two workers together grant as many requested traces as one may, at most one more each."""
    allowances = [Allowance(10, Clock(), GrantedByWorkers(board, index)) for index in range(2)]
    granted = sum(allowance.take() for _ in range(20) for allowance in allowances)
    assert 10 <= granted <= 11


def test_a_standstill_is_reported_once_with_its_request(board: Board, model: DescribedModel) -> None:
    """An event loop whose heartbeat is old is reported with the request that it predicts, until it beats again."""
    observer = observer_of(board)
    sink = sink_of(board, 0, model)
    sink.beat()
    sink.is_ready()
    assert sink.slots is not None
    sink.slots.phase(sink.slots.take(0, 9, 3, 10, 20, 1, 7), PREDICTING)
    lines: list[bytes] = []
    patient = Standstill(3600.0, lines.append, ends=False)
    patient.check(observer.seats, observer.observer.table.description)
    assert lines == []
    strict = Standstill(0.0, lines.append, ends=False)
    for _ in range(2):
        strict.check(observer.seats, observer.observer.table.description)
    (line,) = map(json.loads, lines)
    assert line["in_flight"] == [{"request": "POST /predict/model", "trace_id": f"{9:032x}"}]


def test_an_event_that_cannot_be_counted_costs_itself_alone(board: Board, model: DescribedModel) -> None:
    """Rows of a model that is not described, and a garbage slot of a dead worker, end no observer and no block."""
    sink = sink_of(board, 0, model)
    sink.write(written(ENDED))
    sink.write(written(ENDED._replace(model=77, rows=b"garbage", n_rows=1)))
    sink.write(written(ENDED))
    assert sink.slots is not None
    sink.slots.take(0, 9, 3, 10, 20, 0, 999)
    board.seat(0).end(signal.SIGSEGV, is_death=True)
    assert n_requests(observer_of(board)) == 2
    assert n_requests(observer_of(board)) == 2


@pytest.mark.parametrize(
    "strange", [b"", b"\x01", b"\x01\x01", b"\x01\x02", b"\x01\x02" + written(ENDED)[2:], b"\x63\x01"]
)
def test_bytes_that_are_no_event_are_refused(board: Board, model: DescribedModel, strange: bytes) -> None:
    """Bytes that are no event of this version are a fault, and what comes later is counted."""
    sink, observer = sink_of(board, 0, model), observer_of(board)
    for event in (written(ENDED), strange, written(ENDED)):
        sink.write(event)
    assert n_requests(observer) == 2
    assert n_requests(observer) == 2
    assert faults_of(observer)["reading"] == 1


def test_a_ring_goes_on_after_its_words_were_overwritten(board: Board, model: DescribedModel) -> None:
    """A position that another program has moved ahead costs what lies between, not all that follows."""
    sink, observer = sink_of(board, 0, model), observer_of(board)
    sink.write(written(ENDED))
    board.seat(0).request_ring.cast("Q")[0] = 1 << 40
    with patch("sightline_telemetry.observer.seat_reader.TORN_S", 0.0):
        n_requests(observer)
        n_requests(observer)
    for _ in range(3):
        sink.write(written(ENDED))
        before = n_requests(observer)
    sink.write(written(ENDED))
    assert n_requests(observer) == before + 1
