"""Sockets on which an observer answers: clients that are slow, silent, too many, or wrong harm no other."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.events.memory import Board
from sightline_telemetry.observer import scrape_port
from sightline_telemetry.observer.answers import (
    MAX_CONNECTIONS,
    MAX_FOLLOWERS,
    AnswerServer,
    NoAnswerError,
    ask,
    follow,
)
from sightline_telemetry.observer.process import BoardObserver
from sightline_telemetry.observer.scrape_port import ScrapePort
from tests.telemetry.observer.boards import faults_of, observer_of, sink_of
from tests.telemetry.serving import ENDED, written

pytestmark = pytest.mark.usefixtures("no_otel_variables")

PATIENCE_S = 10.0


@pytest.fixture
def observer(board: Board) -> Iterator[BoardObserver]:
    """An observer that can render."""
    made = observer_of(board)
    made.observer.providers.start()
    yield made
    made.observer.providers.shutdown()


@pytest.fixture
def path(observer: BoardObserver, tmp_path: Path) -> Iterator[str]:
    """The socket on which it answers."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen(200)
        AnswerServer(os.dup(listening.fileno()), observer, observer.faults).start()
        yield str(tmp_path / "s")
        listening.shutdown(socket.SHUT_RDWR)


def connect(path: str, question: bytes) -> socket.socket:
    """Sends a question, and does not read the answer."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE_S)
    client.connect(path)
    client.sendall(question)
    return client


def metrics(path: str) -> bytes:
    """Returns the body of a scrape."""
    return asyncio.run(ask(path, {"what": "metrics", "accept": ""}, PATIENCE_S))[1]


def test_followers_starve_no_scrape(board: Board, model: DescribedModel, observer: BoardObserver, path: str) -> None:
    """More followers than there are connections leave scrapes as they are; those beyond the bound read why."""
    sink = sink_of(board, 0, model)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(path, b'{"what": "tail"}\n')) for _ in range(MAX_CONNECTIONS + 8)]
        heads = [json.loads(client.makefile("rb").readline()) for client in clients]
        assert heads.count({}) == MAX_FOLLOWERS
        assert heads.count({"refused": f"{MAX_FOLLOWERS} others follow this service already"}) == len(heads) - 8
        assert b"sightline_faults_total" in metrics(path)
        sink.write(written(ENDED))
        observer.fold()
        for client, head in zip(clients, heads, strict=True):
            if head == {}:
                assert b'"status":200' in client.recv(65_536)

        async def follow_too() -> None:
            async for _ in follow(path):
                pass

        with pytest.raises(NoAnswerError, match="others follow"):
            asyncio.run(follow_too())


@pytest.mark.parametrize("question", [b"[]\n", b"nonsense\n", b'{"what": "trace", "trace_id": "?"}\n', b"{}\n"])
def test_a_wrong_question_is_a_fault(observer: BoardObserver, path: str, question: bytes) -> None:
    """It is counted, its connection is closed, and the next question is answered."""
    with connect(path, question) as client:
        assert client.recv(100) == b""
    connect(path, b"").close()
    metrics(path)
    observer.fold()
    assert faults_of(observer)["reading"] == 1


@pytest.fixture
def scrape(observer: BoardObserver) -> Iterator[Callable[[bytes], bytes]]:
    """Sends bytes to a port for scrapes; returns the answer, up to the end of the connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()

    def render(accept: str) -> tuple[bytes, str]:
        return observer.observer.providers.scrape.render(accept)

    def send(request: bytes) -> bytes:
        with socket.create_connection(address, timeout=PATIENCE_S) as client:
            client.sendall(request)
            return client.makefile("rb").read()

    with patch.object(scrape_port, "TIMEOUT_S", 0.3):
        port = ScrapePort(listening.detach(), render, observer.faults)
    port.start()
    yield send
    port._server.shutdown()  # noqa: SLF001  # a process ends with its port
    port._server.server_close()  # noqa: SLF001


def test_a_port_for_scrapes(observer: BoardObserver, scrape: Callable[[bytes], bytes]) -> None:
    """It answers /metrics, 404 for other paths, and 503 when rendering fails, which is counted."""
    assert b"sightline_faults_total" in scrape(b"GET /metrics?x HTTP/1.0\r\n\r\n")
    assert scrape(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 404")
    with patch.object(observer.observer.providers.scrape, "render", side_effect=RuntimeError):
        failed = scrape(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert failed.startswith(b"HTTP/1.0 503")
    assert b"Retry-After: 1\r\n" in failed
    observer.fold()
    assert faults_of(observer)["reading"] == 1


def test_a_silent_client_is_disconnected(scrape: Callable[[bytes], bytes]) -> None:
    """A client that sends nothing, or half a request, is disconnected before its own patience ends."""
    assert scrape(b"") == scrape(b"GET /metr") == b""


def test_who_has_left_is_not_answered(
    board: Board, model: DescribedModel, observer: BoardObserver, tmp_path: Path
) -> None:
    """Questions of clients that have left cost no fold: those that wait are answered first."""
    sink_of(board, 0, model).write(written(ENDED))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen(200)
        for _ in range(MAX_CONNECTIONS):
            connect(str(tmp_path / "s"), b'{"what": "trace", "trace_id": "1"}\n').close()
        AnswerServer(os.dup(listening.fileno()), observer, observer.faults).start()
        asyncio.run(ask(str(tmp_path / "s"), {"what": "inflight"}, PATIENCE_S))
        assert observer.seats[0].positions == (0, 0)
        asyncio.run(ask(str(tmp_path / "s"), {"what": "trace", "trace_id": "1"}, PATIENCE_S))
        assert observer.seats[0].positions > (0, 0)
        listening.shutdown(socket.SHUT_RDWR)
