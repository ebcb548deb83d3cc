"""What the observer answers on its Unix socket: scrapes, kept traces, requests in flight.

One request per connection: a line of JSON, `{"what": "metrics", "accept": "..."}`. The answer is a line of JSON, then
bytes to the end of the connection.
"""

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from threading import BoundedSemaphore, Thread
from time import sleep
from typing import Any, Protocol

from sightline_telemetry.events.http_codes import METHODS
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.observer import Observer
from sightline_telemetry.observer.seat_reader import SeatReader

MAX_REQUEST_BYTES = 65_536
MAX_CONNECTIONS = 32
MAX_FOLLOWERS = 8
TIMEOUT_S = 5.0
PULSE_S = 1.0
"""A client that follows gets an empty line at least so often: one that has left gives its place back."""
FOLLOWER_TIMEOUT_S = 60.0
"""Who follows may be paused for so long; the lines that wait meanwhile are bounded."""
_PAUSE_S = 0.1
_CLOSED = (errno.EBADF, errno.EINVAL)  # what `accept` raises for ever
PHASES = ("free", "reading", "waiting", "predicting", "answered")


class Observing(Protocol):
    """What the answers are made of."""

    observer: Observer
    seats: list[SeatReader]

    def fold(self) -> None:
        """Counts all events that are published now."""


class NoAnswerError(ConnectionError):
    """The observer does not answer in time, or refuses to."""


class AnswerServer:
    """Answers on a listening Unix socket, one thread per connection.

    Those who follow requests have a bound of their own: however many they are, scrapes are answered.
    """

    def __init__(self, descriptor: int, observing: Observing, faults: Faults) -> None:
        self._listening = socket.socket(fileno=descriptor)
        self._observing = observing
        self._faults = faults
        self._free = BoundedSemaphore(MAX_CONNECTIONS)
        self._free_to_follow = BoundedSemaphore(MAX_FOLLOWERS)

    def start(self) -> None:
        """Starts the thread that accepts."""
        Thread(target=self._accept_on, name="answers", daemon=True).start()

    def _accept_on(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError as error:
                if error.errno in _CLOSED:
                    self._listening.close()
                    return
                sleep(_PAUSE_S)  # no descriptor is free
                continue
            self._free.acquire()
            try:
                Thread(target=self._serve, args=(connection,), name="answer", daemon=True).start()
            except RuntimeError:  # a limit of threads is reached
                connection.close()
                self._free.release()
                sleep(_PAUSE_S)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client has left, or is too slow
            connection.settimeout(TIMEOUT_S)
            try:
                question = connection.makefile("rb").readline(MAX_REQUEST_BYTES)
                answer = b"" if not question or _has_left(connection) else self._answer(question)
                if answer is not None:
                    connection.sendall(answer)
            finally:
                self._free.release()
            if answer is None:
                self._follow(connection)

    def _answer(self, question: bytes) -> bytes | None:
        """Returns the answer; None if the client wants to follow, nothing if there is a fault."""
        with self._faults.contained("reading"):
            asked: dict[str, Any] = json.loads(question)
            what = asked["what"]
            if what == "tail":
                return None
            if what == "metrics":
                body, content_type = self._observing.observer.scrape(asked["accept"])
                return _line({"content_type": content_type, "length": len(body)}) + body
            if what == "trace":
                self._observing.fold()
                ring = self._observing.observer.ring
                return _with_length(None if ring is None else ring.read(int(asked["trace_id"], 16)))
            if what == "inflight":
                return _with_length(list(self._in_flight()))
        return b""

    def _follow(self, connection: socket.socket) -> None:
        """Sends a line per request that ends; a client that is too slow misses some, and reads how many."""
        if not self._free_to_follow.acquire(blocking=False):
            connection.sendall(_line({"refused": f"{MAX_FOLLOWERS} others follow this service already"}))
            return
        try:
            connection.settimeout(FOLLOWER_TIMEOUT_S)
            with self._observing.observer.followers.following() as follower:
                connection.sendall(_line({}))
                while True:  # an empty line finds out whether the client is still there
                    connection.sendall(b"".join(follower.wait(PULSE_S)) or b"\n")
        finally:
            self._free_to_follow.release()

    def _in_flight(self) -> Iterator[dict[str, Any]]:
        description = self._observing.observer.table.description
        for seat in self._observing.seats:
            for request in seat.seat.slots(seat.seat.process.generation).read():
                yield {
                    "worker": seat.index,
                    "method": METHODS[request.method],
                    "route": description.route(request.route),
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
    """Yields each request as it ends. Raises NoAnswerError when the observer ends, or refuses one more who follows."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(_line({"what": "tail"}))
            head = json.loads(await reader.readline())
            if "refused" in head:
                raise NoAnswerError(head["refused"])
            while line := await reader.readline():
                if line.strip():
                    yield json.loads(line)
        finally:
            writer.close()
    except NoAnswerError:
        raise
    except (OSError, ValueError) as error:
        raise NoAnswerError(f"the observer does not answer: {type(error).__name__}") from error
    raise NoAnswerError("the observer has ended: was the service stopped?")


def _has_left(connection: socket.socket) -> bool:
    """Returns whether the client waits no longer: a late observer must not answer those first that have given up."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(TIMEOUT_S)


def _with_length(content: Any) -> bytes:
    encoded = json.dumps(content).encode()
    return _line({"length": len(encoded)}) + encoded


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
