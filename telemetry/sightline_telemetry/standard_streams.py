"""Standard output and error that never block: what is written waits in a bounded queue for a thread.

A pipe that is full, or a terminal that is stopped, would otherwise stop whatever thread writes next: the event loop
with uvicorn's line about an invalid request, or a library with its traceback.
"""

import atexit
import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, TextIO

PLACE = "request_log"
"""Where a text that was dropped is counted as a fault."""

MAX_WAITING = 2_000
"""Largest number of texts that wait; those beyond it are dropped."""

_PART_CHARS = 16_384
_AT_EXIT_S = 1.0

Lose = Callable[[str, int], None]


class QueuedStream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`.

    fd: what is written to. stream: what was there before, asked for all that has to do with terminals; None if the
    process was started without.
    """

    def __init__(self, fd: int, stream: TextIO | None) -> None:
        super().__init__()
        self._fd = fd
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._waiting: SimpleQueue[bytes | Event] = SimpleQueue()  # its `put` may be interrupted by another `put`
        self._writing = Lock()
        self._pid = 0
        self._lose: Lose | None = None
        self._n_lost = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property of TextIOBase that is writable
        """The encoding of the stream before."""
        return self._encoding

    def write(self, text: str) -> int:
        """Queues a text; it is dropped, and counted, if too much waits."""
        for start in range(0, len(text), _PART_CHARS):
            if self._waiting.qsize() >= MAX_WAITING:
                self._note_loss(1)
                break
            self._waiting.put(text[start : start + _PART_CHARS].encode(self._encoding, "backslashreplace"))
        if self._pid != os.getpid():  # the first time, and in a forked child, which has no thread yet
            self._pid = os.getpid()
            Thread(target=self._write_on, name=f"descriptor-{self._fd}", daemon=True).start()
        return len(text)

    def write_through(self, data: bytes) -> None:
        """Writes bytes, and waits until they are taken. Raises OSError if the descriptor does not take them."""
        rest = memoryview(data)
        with self._writing:
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:  # another process has made it so
                    select.select([], [self._fd], [])

    def drain(self, timeout_s: float) -> None:
        """Waits until all that was queued before is written, or for so long."""
        if self._pid == os.getpid():
            is_written = Event()
            self._waiting.put(is_written)
            is_written.wait(timeout_s)

    def count_losses(self, lose: Lose) -> None:
        """Has each dropped text counted, those of before too."""
        self._lose = lose
        n_lost, self._n_lost = self._n_lost, 0
        if n_lost:
            lose(PLACE, n_lost)

    def flush(self) -> None:
        """Does nothing: a caller that flushes must not wait either."""

    def writable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Returns whether the descriptor is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write_on(self) -> None:
        while True:
            parts = [self._waiting.get()]
            parts += [self._waiting.get() for _ in range(self._waiting.qsize())]
            texts = [part for part in parts if isinstance(part, bytes)]
            try:
                self.write_through(b"".join(texts))
            except (OSError, ValueError):  # its reader is gone
                self._note_loss(len(texts))
            for part in parts:
                if isinstance(part, Event):
                    part.set()

    def _note_loss(self, n: int) -> None:
        if self._lose is None:
            self._n_lost += n
        else:
            with suppress(Exception):  # it is the log that fails here
                self._lose(PLACE, n)


class StandardStreams:
    """The two streams of this process, as far as they are its own: a test or a notebook may have replaced them."""

    def __init__(self, streams: list[QueuedStream]) -> None:
        self._streams = streams

    def count_losses(self, lose: Lose) -> None:
        """Has what is dropped counted as faults of the telemetry."""
        for stream in self._streams:
            stream.count_losses(lose)

    def drain(self, timeout_s: float = _AT_EXIT_S) -> None:
        """Waits until all is written, for as long per stream at most."""
        for stream in self._streams:
            stream.drain(timeout_s)


def unblock_standard_streams() -> StandardStreams:
    """Replaces `sys.stdout` and `sys.stderr`, also in the handlers of loggers, unless that was done before.

    A descriptor that is closed is opened to nothing: the next file or socket would get its number, and the messages.
    """
    found = []
    for fd, name in ((1, "stdout"), (2, "stderr")):
        _keep_open(fd)
        stream = getattr(sys, name)
        if not isinstance(stream, QueuedStream):
            if not _is_plain(stream, fd):
                continue
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.flush() if select.select([], [fd], [], 0)[1] else None
            stream = QueuedStream(fd, stream)
            setattr(sys, name, stream)
            atexit.register(stream.drain, _AT_EXIT_S)
        found.append(stream)
    if "logging" in sys.modules:
        _redirect_handlers({stream.fileno(): stream for stream in found})
    return StandardStreams(found)


def _keep_open(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)
        os.set_inheritable(fd, True)


def _is_plain(stream: object, fd: int) -> bool:
    """Returns whether a stream is what the interpreter has opened for a descriptor."""
    if stream is None:
        return True
    with suppress(OSError, ValueError):
        return type(stream) is io.TextIOWrapper and stream.fileno() == fd
    return False


def _redirect_handlers(streams: dict[int, QueuedStream]) -> None:
    import logging  # the supervisor does without

    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.Logger.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if type(handler) is logging.StreamHandler:
            for fd, stream in streams.items():
                if handler.stream is not stream and _is_plain(handler.stream, fd) and handler.stream is not None:
                    handler.setStream(stream)
