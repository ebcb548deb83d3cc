"""A client that speaks HTTP byte by byte over a real socket, for tests of what the server does with odd ones."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.service.running import Running

ROW = {"age": 30.0, "income": 900.0, "city": "Oslo", "plan": "free"}
BODY = json.dumps({"instances": [ROW]}).encode()
LIVEZ = b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n"


def post(body: bytes = BODY, *lines: str, path: str = "/predict/model", length: int | str | None = None) -> bytes:
    """Returns a POST of JSON as bytes. length: what the head says, if that is not the length of the body."""
    framing = f"content-length: {len(body) if length is None else length}"
    if any("transfer-encoding" in line for line in lines):
        framing = "x-no: length"
    head = [f"POST {path} HTTP/1.1", "host: test", "content-type: application/json", *lines, framing, "", ""]
    return "\r\n".join(head).encode() + body


@contextmanager
def connected(service: Running, timeout_s: float = 20, receive_bytes: int = 0) -> Iterator[socket.socket]:
    """Opens a connection. receive_bytes: size of its buffer, if it is not that of the system."""
    with socket.socket() as connection:
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(timeout_s)
        connection.connect(("127.0.0.1", service.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    """Returns all that the server still sends; raises TimeoutError if it does not close the connection."""
    received = b""
    with suppress(ConnectionError):
        while data := connection.recv(1 << 20):
            received += data
    return received


def statuses(received: bytes) -> list[int]:
    """Returns the statuses of the answers in what was received."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def answers(service: Running, *parts: bytes, n: int = 1) -> list[int]:
    """Sends bytes on one connection, and returns the statuses of the first n answers."""
    with connected(service) as connection:
        received = b""
        for part in parts:
            connection.sendall(part)
        while len(statuses(received)) < n and (data := connection.recv(1 << 20)):
            received += data
        return statuses(received)


def closed_after(service: Running, *parts: bytes) -> tuple[list[int], bytes]:
    """Sends bytes; returns the statuses of all answers, and what was received, until the server closes."""
    with connected(service) as connection:
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        received = read_to_end(connection)
        return statuses(received), received


def refused(service: Running) -> dict[str, int]:
    """Returns the connections that were refused, by reason, where there are any."""
    samples = service.samples("sightline_connections_refused_total")
    return {dict(labels)["reason"]: int(value) for labels, value in samples.items() if value}
