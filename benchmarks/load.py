"""The load generator, the same for every server: raw bytes over kept-alive connections, on uvloop.

Each client sends its next request as soon as the answer to the last one is whole. A round is over when the requests
that were under way at its end are answered too: so it counts whole answers of servers that answer in bursts, and
leaves no work to do while the next one is measured. Requests are built beforehand, and of an answer only the
status and the length are read, so that the generator takes little of the two cores from the server under test.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter

import numpy as np
import uvloop

HOST = "127.0.0.1"
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: answers per second, and milliseconds per answer."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def post(path: str, body: bytes, port: int, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 request. headers: besides those that every request has."""
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}:{port}\r\ncontent-type: application/json\r\n"
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"{head}{more}content-length: {len(body)}\r\n\r\n".encode() + body


def drive(port: int, requests: Sequence[bytes], *, clients: int, seconds: float, at_most: int = 10**7) -> Measured:
    """Keeps some clients busy for some seconds, or with exactly so many requests.

    Raises ConnectionError for an answer that is not 200, or if answers are still missing half a minute later.
    """
    return uvloop.run(_drive(port, requests, clients, seconds, at_most))


async def _drive(port: int, requests: Sequence[bytes], clients: int, seconds: float, at_most: int) -> Measured:
    loop = asyncio.get_running_loop()
    run = _Run(seconds, at_most, loop.create_future())
    first = [cycle([*requests[i % len(requests) :], *requests[: i % len(requests)]]) for i in range(clients)]
    transports = [(await loop.create_connection(lambda i=each: _Client(i, run), HOST, port))[0] for each in first]  # type: ignore[misc]
    start = run.start = perf_counter()
    for transport in transports:
        transport.get_protocol().send(start)  # type: ignore[attr-defined]
    try:
        await asyncio.wait_for(run.done, seconds + _PATIENCE_S)
    except TimeoutError:
        raise ConnectionError(
            f"{run.under_way} requests to port {port} have no answer after {_PATIENCE_S:g} s"
        ) from None
    finally:
        for transport in transports:
            transport.abort()
    took = perf_counter() - start
    p50, p99, slowest = np.percentile(run.latencies, (50, 99, 100)) * 1e3
    return Measured(len(run.latencies), took, float(p50), float(p99), float(slowest))


class _Run:
    """What the clients of one round share."""

    def __init__(self, seconds: float, at_most: int, done: "asyncio.Future[None]") -> None:
        self.seconds = seconds
        self.at_most = at_most
        self.done = done
        self.start = 0.0
        self.under_way = 0
        self.latencies: list[float] = []

    def may_send(self, now: float) -> bool:
        """Whether a client sends another request; ends the round with the last answer."""
        if now - self.start < self.seconds and len(self.latencies) + self.under_way < self.at_most:
            self.under_way += 1
            return True
        if not self.under_way:
            self.end(None)
        return False

    def took(self, sent: float) -> float:
        """Notes an answer; what time it is."""
        now = perf_counter()
        self.latencies.append(now - sent)
        self.under_way -= 1
        return now

    def end(self, error: Exception | None) -> None:
        """Ends the round."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: "cycle[bytes]", run: _Run) -> None:
        self._requests = requests
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._sent = 0.0
        self._left = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is sent until all clients are connected."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def send(self, now: float) -> None:
        """Sends the next request, if there is to be one."""
        if self._run.may_send(now):
            assert self._transport is not None
            self._sent = now
            self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Sends the next request once the answer is whole."""
        if self._left:
            self._left -= len(data)
        else:
            data = self._head + data
            end = data.find(_END)
            if end < 0:
                self._head = data
                return
            self._head = b""
            self._left = self._length(data[:end].lower()) - (len(data) - end - len(_END))
        if self._left <= 0:
            self.send(self._run.took(self._sent))

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that ends before the round does is an error."""
        self._run.end(exc or ConnectionError("the server closed a connection"))

    def _length(self, head: bytes) -> int:
        if head[9:12] != b"200":
            self._run.end(ConnectionError(f"the server answered {head[:300].decode('latin-1')}"))
        at = head.find(_LENGTH)
        if at < 0:
            self._run.end(ConnectionError(f"an answer without a length: {head[:300].decode('latin-1')}"))
            return 0
        return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
