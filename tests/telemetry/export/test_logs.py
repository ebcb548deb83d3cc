"""Tests that logs are JSON lines with trace ids, one per request, and that writing them delays no request."""

import io
import json
import logging
import logging.config
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.trace import set_span_in_context

from sightline_telemetry.export.logs import MAX_WAITING, JsonFormatter, LogWriter, log_config, request_line
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.requests.running import RequestSpan
from sightline_telemetry.requests.timeline import Timeline
from tests.telemetry.serving import ENDED, lasting

KIND = RequestKind("POST", "/predict/model", 200)
EVENT = lasting(0.0123456, ENDED._replace(unix_ns=1_700_000_000_123_000_000 - 12_345_600))
"""A request that took 12.3456 ms."""


class Lost:
    """Adds up what was lost, by place."""

    def __init__(self) -> None:
        self.counts = Counter[str]()

    def __call__(self, place: str, n: int) -> None:
        """Counts lost items."""
        self.counts[place] += n


@pytest.fixture
def stream() -> io.StringIO:
    """What is written."""
    return io.StringIO()


@pytest.fixture
def logger(stream: io.StringIO) -> Iterator[logging.Logger]:
    """A logger whose lines are in the stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    made = logging.getLogger("tests.logs")
    made.addHandler(handler)
    made.propagate = False
    yield made
    made.removeHandler(handler)
    made.propagate = True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines, parsed."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_a_line_with_the_ids_of_its_request(logger: logging.Logger, stream: io.StringIO) -> None:
    """A record logged during a request has its trace and span ids; a record logged outside has no ids."""
    timeline = Timeline()
    token = attach(set_span_in_context(RequestSpan(timeline)))
    logger.warning("%d rows of %s", 3, 'a "name"')
    detach(token)
    logger.error("later")
    inside, outside = lines(stream)
    assert inside["time"].endswith("Z")
    del inside["time"], outside["time"]
    assert inside == {
        "level": "warning",
        "logger": "tests.logs",
        "message": '3 rows of a "name"',
        "trace_id": timeline.trace_id_hex,
        "span_id": f"{timeline.span_id:016x}",
    }
    assert outside == {"level": "error", "logger": "tests.logs", "message": "later"}


def test_an_exception_is_one_line(logger: logging.Logger, stream: io.StringIO) -> None:
    """A traceback of many lines is a field of one, and ids that a record brings are kept."""
    try:
        raise ValueError("what\nhappened")
    except ValueError:
        logger.exception("it failed", extra={"trace_id": "abc"})
    (line,) = lines(stream)
    assert line["trace_id"] == "abc"
    assert line["exc_info"].endswith("ValueError: what\nhappened")


def test_every_logger_goes_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With the configuration uvicorn's loggers and ours write JSON to standard output."""
    root = logging.getLogger()
    before, level = root.handlers.copy(), root.level
    try:
        logging.config.dictConfig(log_config())
        logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[1mStarted"})
        logging.getLogger("sightline_telemetry.faults").warning("oops")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["logger"], line["message"]) for line in written] == [
        ("uvicorn.error", "Started"),
        ("sightline_telemetry.faults", "oops"),
    ]
    assert "color_message" not in written[0]


def test_the_line_of_a_request_shows_whether_its_trace_was_kept(stream: io.StringIO) -> None:
    """Kept or not, and why; a failure is an error, a client that left has no status."""
    log = LogWriter(Lost(), stream)
    log.write(request_line(EVENT, KIND, "slow"))
    log.write(request_line(EVENT, KIND._replace(status=500), None))
    log.write(request_line(EVENT, KIND._replace(status=0, route="/100%/{of}"), None))
    log.write(request_line(EVENT, KIND._replace(status=0, route=""), None))
    log.start()
    log.stop()
    kept, failed, odd, left = lines(stream)
    assert kept == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "sightline_telemetry.requests",
        "message": "POST /predict/model 200",
        "trace_id": f"{0xABC:032x}",
        "span_id": f"{0xDEF:016x}",
        "trace_kept": True,
        "trace_kept_because": "slow",
        "duration_s": 0.012346,
        "http.request.method": "POST",
        "http.route": "/predict/model",
        "http.response.status_code": 200,
    }
    assert (failed["level"], failed["trace_kept"], "trace_kept_because" in failed) == ("error", False, False)
    assert odd["http.route"] == "/100%/{of}"
    assert left["message"] == "POST cancelled"
    assert {"http.route", "http.response.status_code"}.isdisjoint(left)


def test_lines_that_find_no_room_are_counted(stream: io.StringIO) -> None:
    """Memory is bounded: without a thread that writes, the oldest lines are lost and counted."""
    lost = Lost()
    log = LogWriter(lost, stream)
    for status in range(MAX_WAITING + 7):
        log.write(request_line(EVENT, KIND._replace(status=status), None))
    log.start()
    log.stop()
    assert lost.counts == {"request_log": 7}
    written = lines(stream)
    assert (len(written), written[0]["http.response.status_code"]) == (MAX_WAITING, 7)


def test_a_closed_stream_fails_no_request(stream: io.StringIO) -> None:
    """A closed stream is a fault of the telemetry: every line that it costs is counted, and nothing raised."""
    lost = Lost()
    log = LogWriter(lost, stream)
    stream.close()
    for _ in range(3):
        log.write(request_line(EVENT, KIND, "slow"))
    log.start()
    log.stop()
    assert lost.counts == {"request_log": 3}


def test_a_line_is_that_of_its_kind(stream: io.StringIO) -> None:
    """Lines of many kinds, more than are kept prepared, are right each time that they return."""
    log = LogWriter(Lost(), stream)
    statuses = [*range(5000), *range(5000)]
    for status in statuses:
        log.write(request_line(EVENT, KIND._replace(status=status), None))
    log.flush()
    assert [line.get("http.response.status_code", 0) for line in lines(stream)] == statuses
