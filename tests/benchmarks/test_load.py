"""The load generator, against a real server of a few lines."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import sleep

import pytest

from benchmarks.load import drive, post


class Small(ThreadingHTTPServer):
    """Answers every request after a while, and remembers the bodies."""

    request_queue_size = 64
    wait_s = 0.0
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.bodies: list[bytes] = []
        self.under_way = self.most = 0
        self.lock = Lock()

    def handle_error(self, *_: object) -> None:
        """A client that leaves before the end is no error."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Small

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
        sleep(self.server.wait_s)
        with self.server.lock:
            self.server.under_way -= 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def log_message(self, *_: object) -> None:
        """Discards log lines."""


@pytest.fixture
def server() -> Iterator[Small]:
    """A server on loopback, and its end."""
    with Small() as small:
        thread = Thread(target=small.serve_forever)
        thread.start()
        yield small
        small.shutdown()
        thread.join()


def _requests(server: Small, number: int) -> list[bytes]:
    return [post("/", b"%d" % each, server.server_port) for each in range(number)]


def test_exactly_so_many_requests_are_sent(server: Small) -> None:
    """What was asked for is sent and answered, whole, by all clients together."""
    measured = drive(server.server_port, _requests(server, 3), clients=7, seconds=60, at_most=50)
    assert (measured.requests, len(server.bodies)) == (50, 50)
    assert set(server.bodies) == {b"0", b"1", b"2"}
    assert server.most <= 7


def test_a_round_ends_with_the_last_answer(server: Small) -> None:
    """Requests under way at the end are waited for: a burst counts whole, and nothing is left to do."""
    server.wait_s = 0.2
    measured = drive(server.server_port, _requests(server, 1), clients=4, seconds=0.3)
    assert measured.requests == 8
    assert server.under_way == 0
    assert measured.seconds > 0.4
    assert 200 < measured.p50_ms < measured.seconds * 1e3


def test_an_answer_that_is_no_prediction_ends_the_round(server: Small) -> None:
    """A server that fails is not measured."""
    server.status = 503
    with pytest.raises(ConnectionError, match=r"the server answered http/1\.1 503"):
        drive(server.server_port, _requests(server, 1), clients=2, seconds=5)
