"""The bypass of ASGI speaks HTTP as uvicorn does."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from sightline_service.server.asgi import Reply
from sightline_service.server.protocol import MAX_ANSWERS, MAX_BYTES
from tests.service.running import Running, running
from tests.stack.polling import poll_until

ROW = {"age": 30.0, "income": 900.0, "city": "Oslo", "plan": "free"}
BODY = json.dumps({"instances": [ROW]}).encode()


@pytest.fixture(scope="module")
def service(small_bundle: Path) -> Iterator[Running]:
    """The service behind its own server."""
    with running(small_bundle) as service:
        yield service


def request(body: bytes = BODY, *headers: str, path: str = "/predict/model", version: str = "1.1") -> bytes:
    """A POST request as bytes."""
    lines = [f"POST {path} HTTP/{version}", "host: test", "content-type: application/json", *headers]
    if not any("transfer-encoding" in header for header in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def exchange(service: Running, *parts: bytes, n_answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Sends parts one after the other on one connection, and returns the answers."""
    with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            if part is not parts[-1]:
                connection.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(10)
        stream = connection.makefile("rb")
        return [_read(stream) for _ in range(n_answers)]


def _read(stream: Any) -> tuple[int, dict[str, str], bytes]:
    status = int(stream.readline().split()[1])
    headers: dict[str, str] = {}
    while line := stream.readline().strip().decode():
        name, _, value = line.partition(": ")
        headers[name] = value
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def test_a_request_in_pieces_is_answered_like_one(service: Running) -> None:
    """Wherever a request is cut, head or body, the answer is the same; so is that to a chunked body."""
    whole = request()
    head = whole.index(b"\r\n\r\n") + 4
    for cut in (10, head - 1, head, head + 5, len(whole) - 1):
        ((status, headers, body),) = exchange(service, whole[:cut], whole[cut:])
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert set(headers) == {"date", "server", "content-type", "content-length", "traceresponse"}
        assert json.loads(body)["predictions"][0]["outcome"] in ("yes", "no")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    ((status, _, _),) = exchange(service, request(chunked, "transfer-encoding: chunked"))
    assert status == 200


def test_requests_in_one_packet_are_answered_in_order(service: Running) -> None:
    """Pipelined requests, bypassed and others, get their own answers, one after the other."""
    livez = b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n"
    wrong = request(b"{")
    answers = exchange(service, request() + wrong + livez + request() + livez + request(), n_answers=6)
    assert [status for status, _, _ in answers] == [200, 400, 200, 200, 200, 200]
    assert ["predictions" in json.loads(body) for _, _, body in answers] == [True, False, False, True, False, True]


def test_a_request_with_more_of_http_goes_uvicorns_way(service: Running) -> None:
    """HTTP/1.0, a connection to be closed, an expectation and a query are answered as uvicorn answers them."""
    ((status, headers, _),) = exchange(service, request(version="1.0"))
    assert (status, headers["connection"]) == (200, "close")
    ((status, headers, _),) = exchange(service, request(BODY, "connection: close"))
    assert (status, headers["connection"]) == (200, "close")
    ((status, _, _), (last, _, _)) = exchange(service, request(BODY, "expect: 100-continue"), n_answers=2)
    assert (status, last) == (100, 200)
    ((status, _, _),) = exchange(service, request(path="/predict/model?secret=1"))
    assert status == 200


def test_a_large_body_goes_uvicorns_way(service: Running) -> None:
    """A body with more rows than the bypass takes is predicted all the same, and counted once."""
    rows = MAX_BYTES // len(json.dumps(ROW)) + 2
    before = sum(service.samples("ml_predictions_total").values())
    assert len(service.predict([ROW] * rows).json()["predictions"]) == rows
    assert sum(service.samples("ml_predictions_total").values()) - before == rows


def test_bytes_that_are_not_http_are_refused(service: Running) -> None:
    """A chunk that is broken ends the connection with 400, and the next connection is served."""
    ((status, _, _),) = exchange(service, request(b"zz\r\n", "transfer-encoding: chunked"))
    assert status == 400
    assert service.predict([ROW]).status_code == 200


@pytest.mark.parametrize(
    "rest", [b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n", request()[:-5]], ids=["slow", "in pieces"]
)
def test_a_request_behind_a_bypassed_one_is_not_idle(small_bundle: Path, rest: bytes) -> None:
    """A slow request is answered that came in one read with a bypassed one, although the connection seems idle."""

    def add(app: FastAPI) -> None:
        app.add_api_route("/slow", lambda: sleep(1.5))

    parts = [request() + rest, *([request()[-5:]] if rest == request()[:-5] else [])]
    with running(small_bundle, change=add, idle_s=1) as service:
        with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
            stream = connection.makefile("rb")
            connection.sendall(parts[0])
            assert _read(stream)[0] == 200
            sleep(1.3)
            connection.sendall(b"".join(parts[1:]))
            assert _read(stream)[0] == 200
            assert stream.read() == b"", "now it is idle"
        assert service.app.asgi_bypass is not None


def test_a_broken_end_of_a_body_leaves_a_served_connection_alone(small_bundle: Path) -> None:
    """On a connection that answered before, broken HTTP is refused once, and no failure is counted."""
    with running(small_bundle) as service:
        broken = request(b"%x\r\n%b\r\nzz" % (len(BODY), BODY), "transfer-encoding: chunked")
        (first, _, _), (second, headers, _) = exchange(service, request() + broken, n_answers=2)
        assert (first, second, headers["connection"]) == (200, 400, "close")
        assert sum(service.samples("ml_predictions_total").values()) == 1
        assert not any(service.errors().values())


@pytest.mark.parametrize("path", ["/predict/model", "/predict/model?asgi"], ids=["bypass", "asgi"])
def test_headers_of_proxies_are_used(service: Running, path: str) -> None:
    """Behind a trusted proxy the span has the client's address and the scheme that it used, on either way."""
    headers = {
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": "https",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    answer = service.client.post(path, content=BODY, headers={**headers, "content-type": "application/json"})
    trace = service.client.get(f"/traces/{answer.json()['trace_id']}").json()
    spans = trace["resourceSpans"][-1]["scopeSpans"][0]["spans"]
    server = next(span for span in reversed(spans) if span["name"] == "POST /predict/model")
    attributes = {each["key"]: each["value"] for each in server["attributes"]}
    assert attributes["client.address"] == {"stringValue": "203.0.113.7"}
    assert attributes["url.scheme"] == {"stringValue": "https"}


def test_many_connections_at_once(service: Running) -> None:
    """Requests of many clients, sent at the same time, are each answered on their own connection."""

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}") as client:
            sent = [client.post("/predict/model", json={"instances": [ROW] * n}) for n in range(1, 60)]
            return [len(answer.json()["predictions"]) for answer in await asyncio.gather(*sent)]

    assert asyncio.run(ask()) == list(range(1, 60))


def _durations(service: Running, status: str) -> tuple[float, float]:
    """How many requests to the route ended with a status, and how long they took together, in seconds."""
    wanted = {("http_route", "/predict/model"), ("http_response_status_code", status)}
    count, total = (
        sum(
            v for labels, v in service.samples(f"http_server_request_duration_seconds_{of}").items() if wanted <= labels
        )
        for of in ("count", "sum")
    )
    return count, total


def watch_bypass(service: Running, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that are offered to the bypass from now on."""
    asgi_bypass, bodies = service.app.asgi_bypass, []
    assert asgi_bypass is not None
    answer = asgi_bypass.answer

    def watched(scope: Any, body: bytes) -> Reply | None:
        bodies.append(body)
        return answer(scope, body)

    monkeypatch.setattr(asgi_bypass, "answer", watched)
    return bodies


def test_head_and_body_in_two_packets_bypass_asgi(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many clients send two packets or more; the duration of the request begins with its head."""
    bodies = watch_bypass(service, monkeypatch)
    count, total = _durations(service, "200")
    whole = request()
    start_s = perf_counter()
    # The last part is sent 100 ms after the head: the half of it is left for a head that is read late.
    ((status, _, _),) = exchange(service, whole[: -len(BODY)], BODY[:5], BODY[5:])
    assert (status, bodies) == (200, [BODY])
    after, longer = _durations(service, "200")
    assert (after - count, 0.05 <= longer - total <= perf_counter() - start_s) == (1, True)


def test_a_client_that_leaves_in_between_is_counted(small_bundle: Path) -> None:
    """A client that sends a head and no body counts as cancelled, as on uvicorn's way."""
    with running(small_bundle) as service:
        with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
            connection.sendall(request()[:-5])
            sleep(0.1)
        poll_until(lambda: service.errors()["cancelled"], 5, pause_s=0.02)
        assert service.errors() == {"rejected": 0, "failed": 0, "cancelled": 1}
        active = service.samples("http_server_active_requests")
        assert [value for labels, value in active.items() if ("http_request_method", "POST") in labels] == [0]


def test_a_request_that_is_half_there_is_answered_before_the_end(small_bundle: Path) -> None:
    """A server that ends waits for the body of a request whose head it has, and closes the connection after it."""
    whole = request()
    with running(small_bundle) as service, socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        connection.sendall(whole[:-5])
        sleep(0.1)
        service.server.should_exit = True
        sleep(0.3)
        connection.sendall(whole[-5:])
        status, headers, _ = _read(connection.makefile("rb"))
        assert (status, headers["connection"]) == (200, "close")


def test_a_client_that_sends_without_pause_gets_all_answers(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many requests in one packet all bypass ASGI, in several turns of the event loop; the order stays."""
    bodies = watch_bypass(service, monkeypatch)
    n_requests = 3 * MAX_ANSWERS
    sent = [json.dumps({"instances": [ROW] * (1 + at % 3)}).encode() for at in range(n_requests)]
    answers = exchange(service, b"".join(map(request, sent)), n_answers=n_requests)
    assert [len(json.loads(body)["predictions"]) for _, _, body in answers] == [1 + at % 3 for at in range(n_requests)]
    assert bodies == sent
