"""What the observer answers on its Unix socket: scrapes, kept traces, requests in flight.

One request per connection: a line of JSON, `{"what": "metrics", "accept": "..."}`. The answer is a line of JSON, then
bytes to the end of the connection.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from threading import BoundedSemaphore, Thread
from time import sleep
from typing import Any, Protocol

from sightline_telemetry.events.layout import METHODS
from sightline_telemetry.observer.observer import Observer
from sightline_telemetry.observer.seat_reader import SeatReader

MAX_REQUEST_BYTES = 65_536
MAX_CONNECTIONS = 32
TIMEOUT_S = 5.0
_PAUSE_S = 0.1
PHASES = ("free", "reading", "waiting", "predicting")


class Observing(Protocol):
    """What the answers are made of."""

    observer: Observer
    seats: list[SeatReader]

    def fold(self) -> None:
        """Counts all events that are published now."""


class NoAnswerError(ConnectionError):
    """The observer does not answer in time: it is starting, or it was stopped."""


class AnswerServer:
    """Answers on a listening Unix socket, one thread per connection."""

    def __init__(self, descriptor: int, observing: Observing) -> None:
        self._listening = socket.socket(fileno=descriptor)
        self._observing = observing
        self._free = BoundedSemaphore(MAX_CONNECTIONS)

    def start(self) -> None:
        """Starts the thread that accepts."""
        Thread(target=self._accept_on, name="answers", daemon=True).start()

    def _accept_on(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # no descriptor is free
                sleep(_PAUSE_S)
                continue
            self._free.acquire()
            try:
                Thread(target=self._serve, args=(connection,), name="answer", daemon=True).start()
            except RuntimeError:  # a limit of threads is reached
                connection.close()
                self._free.release()
                sleep(_PAUSE_S)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(TIMEOUT_S)
                asked = json.loads(connection.makefile("rb").readline(MAX_REQUEST_BYTES))
                for part in self._answer(asked):
                    connection.sendall(part)
        except (OSError, ValueError):
            pass  # the client has left, or has sent something else than a line of JSON
        finally:
            self._free.release()

    def _answer(self, asked: dict[str, Any]) -> Iterator[bytes]:
        what = asked["what"]
        if what == "metrics":
            body, content_type = self._observing.observer.scrape(asked["accept"])
            yield _line({"content_type": content_type, "length": len(body)})
            yield body
        elif what == "trace":
            self._observing.fold()
            ring = self._observing.observer.ring
            found = None if ring is None else ring.read(int(asked["trace_id"], 16))
            encoded = json.dumps(found).encode()
            yield _line({"is_held": found is not None, "length": len(encoded)})
            yield encoded
        elif what == "tail":
            yield _line({})
            yield from self._ended()
        elif what == "inflight":
            encoded = json.dumps(list(self._in_flight())).encode()
            yield _line({"length": len(encoded)})
            yield encoded

    def _ended(self) -> Iterator[bytes]:
        """Yields a line per request that ends; a reader that is too slow misses some, and reads how many."""
        with self._observing.observer.followers.following() as follower:
            while True:
                lines = follower.wait(TIMEOUT_S)
                yield b"".join(lines) or b"\n"  # the empty line finds out whether the reader is still there

    def _in_flight(self) -> Iterator[dict[str, Any]]:
        routes = self._observing.observer.table.description.routes
        for seat in self._observing.seats:
            for request in seat.seat.slots(seat.seat.process.generation).read():
                yield {
                    "worker": seat.index,
                    "method": METHODS[request.method],
                    "route": routes[request.route] if request.route < len(routes) else "",
                    "phase": PHASES[request.phase],
                    "trace_id": f"{request.trace_id:032x}",
                    "start_ns": request.start_ns,
                }


async def ask(path: str, question: dict[str, Any], timeout_s: float = 1.0) -> tuple[dict[str, Any], bytes]:
    """Sends a question to the observer from an event loop, and returns the head and the body of its answer.

    Raises NoAnswerError if the answer is not there in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(_line(question))
                head = json.loads(await reader.readline())
                return head, await reader.readexactly(head["length"])  # an observer may die in the middle
            finally:
                writer.close()
    except (OSError, ValueError, KeyError, EOFError) as error:  # a TimeoutError is an OSError
        raise NoAnswerError(f"the observer does not answer: {type(error).__name__}") from error


def ask_blocking(path: str, question: dict[str, Any], timeout_s: float = 1.0) -> tuple[dict[str, Any], bytes]:
    """Does the same as `ask` in a thread that may wait: for the connection and for each part, up to `timeout_s`."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(_line(question))
            answer = connection.makefile("rb")
            head = json.loads(answer.readline())
            body = answer.read(head["length"])
    except (OSError, ValueError, KeyError) as error:
        raise NoAnswerError(f"the observer does not answer: {type(error).__name__}") from error
    if len(body) < head["length"]:
        raise NoAnswerError("the observer has ended in the middle of its answer")
    return head, body


async def follow(path: str) -> AsyncIterator[dict[str, Any]]:
    """Yields each request as it ends. Raises NoAnswerError when the observer ends."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(_line({"what": "tail"}))
            await reader.readline()
            while line := await reader.readline():
                if line.strip():
                    yield json.loads(line)
        finally:
            writer.close()
    except (OSError, ValueError) as error:
        raise NoAnswerError(f"the observer does not answer: {type(error).__name__}") from error
    raise NoAnswerError("the observer has ended")


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
