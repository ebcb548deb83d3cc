"""Scrapes of a board that no observer reads."""

import os
import re

import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.http_codes import METHOD_CODES, SCHEMES
from sightline_telemetry.events.layout import LABELS, body_event
from sightline_telemetry.events.memory import Board
from sightline_telemetry.observer.board_scrape import BoardScrape
from tests.telemetry.observer.boards import observer_of, sink_of
from tests.telemetry.serving import ENDED, describe, written

pytestmark = pytest.mark.usefixtures("no_otel_variables")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def scrape(board: Board, model: DescribedModel) -> BoardScrape:
    """What a worker renders scrapes with."""
    return BoardScrape(board, SeriesTable(describe(model)))


def n_requests(body: tuple[bytes, str]) -> int:
    """Returns the requests in the body of a scrape."""
    counts = re.findall(rb"^http_server_request_duration_seconds_count\{.*\} (\d+)", body[0], re.MULTILINE)
    return sum(map(int, counts))


def test_every_request_is_in_the_next_scrape(board: Board, model: DescribedModel, scrape: BoardScrape) -> None:
    """Requests of all workers are counted: those in rings, and those that found no room and were counted there."""
    sinks = [sink_of(board, index, model) for index in range(2)]
    n_sent = 0
    for n in (1, 7, 600, 3):
        for sink in sinks:
            for _ in range(n):
                sink.write(written(ENDED))
        n_sent += 2 * n
        assert n_requests(scrape.render(OPENMETRICS)) == n_sent


def test_a_scrape_leaves_all_to_the_next_observer(board: Board, model: DescribedModel, scrape: BoardScrape) -> None:
    """Nothing is counted twice or taken away, whether observers or scrapes read first; the id stays the same."""
    sink = sink_of(board, 0, model)
    for n in range(1, 10, 2):
        sink.write(written(ENDED))
        before = os.pread(board.fd, os.fstat(board.fd).st_size, 0)
        body = scrape.render("")
        assert os.pread(board.fd, os.fstat(board.fd).st_size, 0) == before
        assert n_requests(body) == n
        sink.write(written(ENDED))
        observer = observer_of(board)
        observer.observer.providers.start()
        observed = observer.observer.providers.scrape.render("")
        observer.observer.providers.shutdown()
        assert n_requests(observed) == n + 1
        assert re.findall(rb'service_instance_id="[^"]+"', body[0]) == re.findall(
            rb'service_instance_id="[^"]+"', observed[0]
        )
    assert n_requests(scrape.render("")) == 10


def test_what_cannot_be_read_costs_itself(board: Board, model: DescribedModel, scrape: BoardScrape) -> None:
    """An event of no known type and a checkpoint of another description are faults; the rest is counted."""
    sink = sink_of(board, 0, model)
    sink.write(b"?")
    sink.write(written(ENDED))
    sink.write_aside(body_event(LABELS, b"garbage"))
    board.commit(b"of another description")
    body = scrape.render("")
    assert n_requests(body) == 1
    assert b'sightline_faults_total{place="reading"} 2.0' in body[0]
    assert b'sightline_faults_total{place="checkpoint"} 1.0' in body[0]


def test_workers_are_shown_as_an_observer_shows_them(board: Board, scrape: BoardScrape) -> None:
    """Requests that run, deaths, and the memory of each worker are in a scrape."""
    put = METHOD_CODES["PUT"] * len(SCHEMES) + SCHEMES.index("https")
    board.seat(0).active[put] = 2
    board.seat(1).active[put] = 3
    board.seat(1).deaths[9] = 4
    body = scrape.render("")[0].decode()
    assert 'http_server_active_requests{http_request_method="_OTHER",url_scheme="http"} 5.0' in body
    assert 'sightline_worker_deaths_total{signal="SIGKILL"} 4.0' in body
    assert re.findall(r'process_memory_usage_bytes\{worker="(\d)"\}', body) == ["0", "1"]
