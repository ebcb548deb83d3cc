"""Clients that retry: what each sends until it has an answer, and which attempts got none."""

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.bodies import instances
from benchmarks.load import HOST, post
from benchmarks.models import flight_rows

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_TIMEOUT_S = 30.0
_N_BODIES = 16  # of each size: what differs is the trace id


@dataclass(frozen=True, slots=True)
class Request:
    """A request to which each attempt adds a trace id of its own."""

    n_rows: int
    head: bytes
    body: bytes

    def with_trace_id(self, trace_id: int) -> bytes:
        """Returns the bytes of one attempt. Its caller keeps no trace, so the service need not."""
        return b"%b\r\ntraceparent: 00-%032x-%016x-00%b%b" % (self.head, trace_id, trace_id >> 64 | 1, _END, self.body)


def flights(port: int, n_rows: int) -> list[Request]:
    """Returns requests of so many flights."""
    rows = flight_rows()
    parts = [rows[at * n_rows : (at + 1) * n_rows] for at in range(min(_N_BODIES, len(rows) // n_rows))]
    return [request(port, instances(part), n_rows) for part in parts]


def request(port: int, content: object, n_rows: int) -> Request:
    """Returns a request with this content, as JSON."""
    head, _, body = post("/predict/model", msgspec.json.encode(content), port).partition(_END)
    return Request(n_rows, head, body)


@dataclass(slots=True)
class Noted:
    """What clients know. lost: the rows of each attempt that got no whole answer, by its trace id.

    refused: answers other than 200, by their status. slowest_s: the longest wait for an answer.
    """

    n_rows: int = 0
    n_requests: int = 0
    lost: dict[int, int] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: Self) -> "Noted":
        return Noted(
            self.n_rows + other.n_rows,
            self.n_requests + other.n_requests,
            self.lost | other.lost,
            self.refused + other.refused,
        )


class Client(Thread):
    """One client with one connection: it sends a request again until it has the answer, then the next one."""

    def __init__(self, port: int, requests: Sequence[Request], seed: int, stopping: Event) -> None:
        super().__init__(daemon=True)
        self.noted = Noted()
        self._port = port
        self._requests = requests
        self._random = Random(seed)
        self._stopping = stopping
        self._socket: socket.socket | None = None

    def run(self) -> None:
        """Sends until it is stopped; the last request, too, is sent until it is answered."""
        while not self._stopping.is_set():
            chosen = self._random.choice(self._requests)
            until_s = monotonic() + _TIMEOUT_S
            while not self.attempt(chosen) and monotonic() < until_s:
                pass
        self._disconnect()

    def attempt(self, chosen: Request) -> bool:
        """Sends a request once, and notes what became of it; returns True if it was answered by 200."""
        trace_id = self._random.getrandbits(127) + 1
        try:
            connection = self._connect()
            connection.sendall(chosen.with_trace_id(trace_id))
            status, body = _read_answer(connection)
        except OSError:
            self.noted.lost[trace_id] = chosen.n_rows
            self._disconnect()
            return False
        if status != 200:
            self.noted.refused[status] += 1
            return False
        self.noted.n_rows += len(msgspec.json.decode(body)["predictions"])
        self.noted.n_requests += 1
        return True

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((HOST, self._port), _TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Clients:
    """Some clients that send at once, from the beginning of a `with` block to its end."""

    def __init__(self, port: int, requests: Sequence[Request], n: int, seed: int = 0) -> None:
        self._stopping = Event()
        self._clients = [Client(port, requests, seed * 1000 + number, self._stopping) for number in range(n)]

    def __enter__(self) -> Self:
        """Starts them."""
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stops them, each after its answer."""
        self._stopping.set()
        for client in self._clients:
            client.join(2 * _TIMEOUT_S)

    @property
    def n_rows(self) -> int:
        """Rows in the answers so far."""
        return sum(client.noted.n_rows for client in self._clients)

    @property
    def noted(self) -> Noted:
        """What they know; complete after the end of the block."""
        total = Noted()
        for client in self._clients:
            total += client.noted
        return total


def _read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Reads one answer; returns its status and its body. Raises ConnectionError if it is not whole."""
    data = b""
    while (end := data.find(_END)) < 0:
        data += _receive(connection)
    head = data[:end].lower()
    at = head.index(_LENGTH) + len(_LENGTH)
    size = end + len(_END) + int(head[at:].split(b"\r\n", 1)[0])
    while len(data) < size:
        data += _receive(connection)
    return int(head[9:12]), data[end + len(_END) :]


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    if not data:
        raise ConnectionError("the connection ended before the answer did")
    return data
