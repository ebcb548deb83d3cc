"""Requests that are sent without waiting for answers: in order, one at a time, in little memory."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.service.running import Running, running
from tests.service.server.talking import BODY, LIVEZ, answers, closed_after, connected, post, statuses


@pytest.fixture(scope="module")
def service(small_bundle: Path) -> Iterator[Running]:
    """The service behind its own server."""
    with running(small_bundle) as service:
        yield service


@pytest.mark.parametrize("request_bytes", [LIVEZ, post(path="/predict/model?asgi")], ids=["gets", "predictions"])
def test_requests_of_one_read_wait_unparsed(small_bundle: Path, request_bytes: bytes) -> None:
    """Of many requests in one read one is parsed at a time: the others are bytes, at most one read of them."""
    queued: list[int] = []
    connections: Any = ()

    class Watching:
        """Notes how many requests wait on the connections when a request reaches the app."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                queued.extend(len(each.pipeline) for each in connections)
            await self.app(scope, receive, send)

    with running(small_bundle, change=lambda app: app.add_middleware(Watching)) as service:
        connections = service.server.server_state.connections
        assert answers(service, request_bytes * 2000, n=2000) == [200] * 2000
    assert len(queued) >= 2000
    assert max(queued) == 0


def flood(service: Running, request_bytes: bytes, n: int) -> tuple[int, int]:
    """Sends n requests without pause, reading meanwhile; the answers with 200, and those of another client."""
    with connected(service) as connection, connected(service) as other:
        sender = threading.Thread(target=connection.sendall, args=(request_bytes * n,), daemon=True)
        sender.start()
        n_answers = n_others = 0
        last = b""
        while n_answers < n:
            if not n_others % 10:
                other.sendall(LIVEZ)
                assert statuses(other.recv(10_000)) == [200]
            n_others += 1
            data = connection.recv(1 << 18)
            assert data, "closed before the last answer"
            whole = last + data
            n_answers += whole.count(b"HTTP/1.1 200")
            last = whole[-11:]
        sender.join()
    return n_answers, n_others


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_bytes", "n"), [(LIVEZ, 100_000), (post(), 30_000)], ids=["100,000 GETs", "30,000 predictions"]
)
def test_a_client_that_pipelines_without_pause_is_served_like_others(
    service: Running, request_bytes: bytes, n: int
) -> None:
    """Every request is answered, another client is served meanwhile, and nothing is held at the end."""
    n_answers, n_others = flood(service, request_bytes, n)
    assert n_answers == n
    assert n_others > 10
    assert service.app.connections.open_body_bytes == 0


def test_a_body_behind_requests_without_answers_is_read(service: Running) -> None:
    """A request whose body comes later is answered behind others, wherever the first packet ends."""
    path = "/predict/model?asgi"
    for before in (LIVEZ, LIVEZ * 3, post(path=path), LIVEZ * 40):
        n = len(statuses(before)) or before.count(b"HTTP/1.1\r\n")
        whole = post(path=path)
        for cut in (10, len(whole) - len(BODY) - 2, len(whole) - len(BODY), len(whole) - 3):
            with connected(service) as connection:
                received = b""
                connection.sendall(before + whole[:cut])
                while len(statuses(received)) < n:
                    received += connection.recv(100_000)
                connection.sendall(whole[cut:] + LIVEZ)
                while len(statuses(received)) < n + 2:
                    received += connection.recv(100_000)
            assert statuses(received) == [200] * (n + 2)


@pytest.mark.parametrize(
    "sent",
    [LIVEZ, post(), post(path="/predict/model?x"), post(path="/v1/models/small:predict"), (LIVEZ + post()) * 50],
    ids=["GET", "bypass", "ASGI", "v1", "a hundred"],
)
def test_a_half_closed_client_gets_its_answers(service: Running, sent: bytes) -> None:
    """A client that shuts its sending side behind its requests reads all answers, and then the end."""
    with connected(service) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(1 << 18):
            received += data
    assert statuses(received) == [200] * sent.count(b"HTTP/1.1\r\n")


def test_a_client_that_ends_within_a_body_is_let_go(service: Running) -> None:
    """Nothing is answered to a client that shuts its sending side before its request is whole."""
    with connected(service) as connection:
        connection.sendall(post()[:-5])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""


def test_a_last_request_ends_what_is_behind_it(service: Running) -> None:
    """Requests behind one with `connection: close` are not answered, and its answer is not lost for them."""
    assert closed_after(service, post(BODY, "connection: close") + LIVEZ * 3000)[0] == [200]
    assert closed_after(service, post(BODY, "connection: close", path="/predict/model?x") + LIVEZ * 3000)[0] == [200]
