"""Writes logs as JSON lines with trace and span ids, and one line per request.

The line of a request is filled into a template of bytes. Lines wait in a bounded queue for a thread that writes them,
twenty times per second.
"""

import json
import logging
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from threading import Event, Thread
from typing import Any, TextIO

from opentelemetry.trace import get_current_span

from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.standard_streams import PLACE, QueuedStream

MAX_WAITING = 20_000
"""Largest number of queued lines; the oldest ones beyond it are dropped and counted."""

_WRITE_EVERY_S = 0.05
"""The lines of 50 ms are written in a fraction of a millisecond; five times as many would be visible in p99."""
_STOP_TIMEOUT_S = 2.0
_NOT_EXTRA = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "level", "taskName", "color_message"}
"""Attributes of a log record that do not become fields; `color_message` is uvicorn's message for terminals."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line: time, level, logger, message, the fields of `extra`, the trace's ids."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line, with the ids of the current trace unless the record has its own."""
        fields: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack_info"] = self.formatStack(record.stack_info)
        fields |= {name: value for name, value in record.__dict__.items() if name not in _NOT_EXTRA}
        current = get_current_span().get_span_context()
        if current.trace_id:
            fields.setdefault("trace_id", f"{current.trace_id:032x}")
            fields.setdefault("span_id", f"{current.span_id:016x}")
        return _json(fields)


def log_config() -> dict[str, Any]:
    """Returns a configuration for `logging.config` or uvicorn's `log_config`: loggers write JSON lines to stdout."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.{JsonFormatter.__name__}"}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": "INFO"},
        # uvicorn's own configuration, if it ran before, gave these loggers handlers of their own.
        "loggers": {
            name: {"handlers": [], "level": "INFO", "propagate": True}
            for name in ("uvicorn", "uvicorn.error", "uvicorn.access")
        },
    }


@lru_cache(maxsize=4096)
def _template(kind: RequestKind, kept: str | None) -> bytes:
    """Returns the JSON line of a request kind, with places for second, milliseconds, trace id, span id and duration.

    The fields that every log record has come first; the others are named by the HTTP semantic conventions.
    """
    method, route, status, *_ = kind
    places = {"time": "%b.%03dZ", "trace_id": "%032x", "span_id": "%016x"}
    fields: dict[str, Any] = {
        "time": "",
        "level": "error" if status >= 500 else "info",
        "logger": "sightline_telemetry.requests",
        "message": " ".join(filter(None, (method, route, str(status or "cancelled")))),
        "trace_id": "",
        "span_id": "",
        "trace_kept": kept is not None,
    }
    if kept is not None:
        fields["trace_kept_because"] = kept
    fields["duration_s"] = None
    fields["http.request.method"] = method
    if route:
        fields["http.route"] = route
    if status:
        fields["http.response.status_code"] = status
    written = {name: _json(value).encode().replace(b"%", b"%%") for name, value in fields.items()}
    written |= {name: f'"{place}"'.encode() for name, place in places.items()} | {"duration_s": b"%.6f"}
    return b"{%b}\n" % b",".join(b'"%b":%b' % (name.encode(), value) for name, value in written.items())


def request_line(event: RequestEvent, kind: RequestKind, kept: str | None) -> bytes:
    """Returns the line of an ended request.

    kept: the reason why its trace was kept; None if it was not kept.
    """
    second, ns = divmod(event.unix(event.end_ns), 1_000_000_000)
    return _template(kind, kept) % (_second(second), ns // 1_000_000, event.trace_id, event.span_id, event.duration_s)


class LogWriter:
    """Writes lines to a stream from a thread of its own, so that a stream that blocks stops nothing else.

    stream: receives the lines; without it, the `sys.stdout` at the time of writing does.
    lose: counts lines that were dropped because too many waited, or because the stream failed.
    """

    def __init__(self, lose: Callable[[str, int], None], stream: TextIO | None = None) -> None:
        self._lose = lose
        self._stream = stream
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._stopping = Event()
        self._thread: Thread | None = None

    def write(self, line: bytes) -> None:
        """Queues a line; if the queue is full, the oldest line is dropped."""
        if len(self._waiting) == MAX_WAITING:
            self._lose(PLACE, 1)
        self._waiting.append(line)

    def start(self) -> None:
        """Starts the thread that writes."""
        self._stopping.clear()
        self._thread = Thread(target=self._write_on, name="request-log", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Writes the queued lines and ends the thread; returns False after two seconds if the stream blocks."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)
        return self._thread is None or not self._thread.is_alive()

    def _write_on(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(_WRITE_EVERY_S)
            self.flush()

    def flush(self) -> None:
        """Writes all queued lines; those that the stream does not take are lost, and counted."""
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not lines:
            return
        stream = self._stream or sys.stdout
        try:
            if isinstance(stream, QueuedStream):
                stream.write_through(b"".join(lines))  # this thread may wait
            else:
                stream.write(b"".join(lines).decode())
                stream.flush()
        except Exception:
            self._lose(PLACE, len(lines))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _time(unix_s: float) -> str:
    second = int(unix_s // 1)
    return f"{_second(second).decode()}.{int((unix_s - second) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(unix_s: int) -> bytes:
    """Formats a second as ISO 8601, cached because most lines have the same second as the line before."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00").encode()
