"""Heads and bodies that are odd are answered as HTTP says, or refused with a clear status, and counted."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_telemetry.events.layout import REFUSED_REASONS
from tests.service.running import Running, running
from tests.service.server.talking import BODY, LIVEZ, answers, closed_after, connected, post, refused, statuses

H2C = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")


@pytest.fixture(scope="module")
def service(small_bundle: Path) -> Iterator[Running]:
    """The service with a small limit of bodies."""
    with running(small_bundle, max_body_bytes=100_000) as service:
        yield service


def test_every_reason_is_there_from_the_start(small_bundle: Path) -> None:
    """Before anything is refused, each reason has a series at 0."""
    with running(small_bundle) as service:
        samples = service.samples("sightline_connections_refused_total")
        assert {dict(labels)["reason"]: value for labels, value in samples.items()} == dict.fromkeys(
            REFUSED_REASONS, 0.0
        )


HEADS = {
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400, "malformed"),
    "two hosts": (b"GET /livez HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, "malformed"),
    "two hosts of a prediction": (post(BODY, "host: b"), 400, "malformed"),
    "HTTP/2.0": (b"GET /livez HTTP/2.0\r\nhost: a\r\n\r\n", 505, "malformed"),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", 505, "malformed"),
    "no HTTP": (b"garbage\r\n\r\n", 400, "malformed"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "malformed"),
    "a bare line feed": (b"GET /livez HTTP/1.1\nhost: a\n\n", 400, "malformed"),
    "a folded header": (b"GET /livez HTTP/1.1\r\nhost: a\r\na: b\r\n c\r\n\r\n", 400, "malformed"),
    "two lengths": (post(BODY, "content-length: 1"), 400, "malformed"),
    "length and chunks": (post(b"0\r\n\r\n", "content-length: 5", "transfer-encoding: chunked"), 400, "malformed"),
    "an encoding of the transfer": (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 400, "malformed"),
    "a long address": (b"GET /" + b"a" * 70_000, 414, "head_size"),
    "a long header": (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000, 431, "head_size"),
    "a long head that is whole": (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431, "head_size"),
    "many headers": (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: a\r\n" * 200 + b"\r\n", 431, "head_size"),
    "many headers of a prediction": (post(BODY, *["x: a"] * 200), 431, "head_size"),
    "many headers without an end": (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: a\r\n" * 200, 431, "head_size"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_wrong_is_refused(service: Running, name: str) -> None:
    """The answer is a problem with the status of the fault, the connection ends, and the reason is counted."""
    sent, status, reason = HEADS[name]
    before = refused(service).get(reason, 0)
    found, received = closed_after(service, sent)
    assert found == [status]
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert json.loads(body)["status"] == status
    assert refused(service)[reason] == before + 1


def test_answers_before_a_refusal_are_not_lost(service: Running) -> None:
    """What was asked before the bytes that are no HTTP is answered first, on either way."""
    assert closed_after(service, LIVEZ + LIVEZ + b"garbage\r\n\r\n")[0] == [200, 200, 400]
    assert closed_after(service, post() + LIVEZ + b"x" * 3000)[0] == [200, 200, 400]


@pytest.mark.parametrize("length", ["+5", "5, 5", "0x5", "-1", "1_0", "", "9" * 30, "\xb2"])
def test_a_length_that_is_no_number_is_refused(service: Running, length: str) -> None:
    """A Content-Length in any other form than digits is answered 400."""
    head = f"POST /predict/model HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n".encode("latin-1")
    assert closed_after(service, head)[0] == [400]


@pytest.mark.parametrize("path", ["/predict/model", "/predict/model?x", "/v1/models/small:predict", "/feedback"])
def test_a_length_with_many_zeros_is_a_number(service: Running, path: str) -> None:
    """Zeros before the digits change nothing, however many there are."""
    body = b'{"labels": []}' if path == "/feedback" else BODY
    assert answers(service, post(body, path=path, length=str(len(body)).zfill(5000)) + LIVEZ, n=2) == [200, 200]


@pytest.mark.parametrize("path", ["/predict/model", "/v1/models/small:predict"])
def test_an_offer_to_upgrade_is_ignored(service: Running, path: str) -> None:
    """A request that offers HTTP/2 or WebSocket is answered with its body over HTTP/1.1, and so is the next one."""
    whole = post(BODY, *H2C, path=path)
    chunked = post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), "transfer-encoding: chunked", *H2C, path=path)
    get = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    for sent in (whole, chunked, get):
        assert answers(service, sent + LIVEZ + post(), n=3) == [200, 200, 200]
        assert answers(service, sent[: -len(BODY) // 2], sent[-len(BODY) // 2 :] + LIVEZ, n=2) == [200, 200]


def test_an_expectation_is_answered_before_the_body(service: Running) -> None:
    """Who asks whether to send too much reads 413 and no 100; who asks with a small body reads 100 and then 200."""
    assert closed_after(service, post(b"", "expect: 100-continue", length=10**10))[0] == [413]
    with connected(service) as connection:
        connection.sendall(post(b"", "expect: 100-continue", length=len(BODY)))
        assert statuses(connection.recv(1000)) == [100]
        connection.sendall(BODY)
        assert statuses(connection.recv(10_000)) == [200]


def test_a_body_over_the_limit_is_refused_while_it_is_sent(service: Running) -> None:
    """A client that sends too much reads 413, with a length or in chunks, and is served on the same connection."""
    body = b" " * 500_000
    assert answers(service, post(body) + LIVEZ, n=2) == [413, 200]
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    assert answers(service, post(chunk * 8 + b"0\r\n\r\n", "transfer-encoding: chunked") + LIVEZ, n=2) == [413, 200]


def test_trailers_are_no_headers(service: Running) -> None:
    """Fields behind a chunked body are discarded; without an end they are refused."""
    chunked = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    sent = post(chunked + b"host: other\r\ncontent-type: text/plain\r\n\r\n", "transfer-encoding: chunked")
    assert answers(service, sent + LIVEZ, n=2) == [200, 200]
    endless = post(chunked + b"x: y\r\n" * 40_000, "transfer-encoding: chunked")
    assert closed_after(service, endless)[0] == [400]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v2", "/docs", "/openapi.json", "/v1/models/small"])
def test_head_is_answered_wherever_get_is(service: Running, path: str) -> None:
    """HEAD has the status and the content type of GET, and no body."""
    got, asked = service.client.get(path), service.client.head(path)
    assert (asked.status_code, asked.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert asked.content == b""
    assert service.client.head("/predict/model").status_code == 405
