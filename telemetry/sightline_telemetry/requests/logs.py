"""Logs as JSON lines that carry trace and span id, and one line a request, written off its way.

A record of a logger is formatted where it is made: such lines are rare. A request's line is filled into a template
of bytes and waits in a bounded queue until a thread writes all that waits, some times per second. The thread formats
nothing: while it held the interpreter's lock for that, requests would wait.
"""

import json
import logging
import sys
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from threading import Event, Thread
from typing import Any, TextIO

from opentelemetry.trace import get_current_span

from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.golden_signals import RequestKey
from sightline_telemetry.requests.timeline import Timeline

MAX_WAITING = 20_000
"""Lines that may wait to be written; those beyond are lost, and counted."""

_WRITE_EVERY_S = 0.05
"""What 50 ms bring is written in a fraction of a millisecond; five times as much at once shows in p99."""
_ENDED_S = 2.0
_PLACE = "request_log"
_NOT_EXTRA = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "level", "taskName", "color_message"}
"""Attributes of a record that are not fields of its line; `color_message` is uvicorn's message for terminals."""


class JsonFormatter(logging.Formatter):
    """A record as one JSON line: time, level, logger, message, what was given as `extra`, the ids of the trace."""

    def format(self, record: logging.LogRecord) -> str:
        """One line. The ids are those of the current trace, unless the record brings its own."""
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
    """A configuration for `logging.config`, uvicorn's `log_config` too: every logger writes JSON lines to stdout."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.{JsonFormatter.__name__}"}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": "INFO"},
        # uvicorn's own configuration, where it came before, gave these handlers of their own.
        "loggers": {
            name: {"handlers": [], "level": "INFO", "propagate": True}
            for name in ("uvicorn", "uvicorn.error", "uvicorn.access")
        },
    }


def _template(kind: RequestKey, kept: str | None) -> bytes:
    """A line of JSON for all requests alike, with places for second, milliseconds, trace id, span id and duration.

    Fields of a log record come first; attributes are named by the HTTP semantic conventions.
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


class RequestLog:
    """Writes a line for each request, from a thread of its own between `start` and `stop`.

    stream: where to; standard output, as it is when a line is written, if not given.
    """

    def __init__(self, faults: Faults, stream: TextIO | None = None) -> None:
        self._faults = faults
        self._stream = stream
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._templates: dict[tuple[RequestKey, str | None], bytes] = {}
        self._stopping = Event()
        self._thread: Thread | None = None

    def note(self, kind: RequestKey, timeline: Timeline, kept: str | None) -> None:
        """Takes an ended request, to be written soon. Where too many wait, the oldest makes room.

        kept: why its trace was kept; None if it was not.
        """
        if len(self._waiting) == MAX_WAITING:
            self._faults.lose(_PLACE)
        template = self._templates.get((kind, kept))
        if template is None:
            template = self._templates[kind, kept] = _template(kind, kept)
        second, ns = divmod(timeline.unix(timeline.end_ns), 1_000_000_000)
        ids = timeline.trace_id, timeline.span_id
        self._waiting.append(template % (_second(second), ns // 1_000_000, *ids, timeline.duration_s))

    def start(self) -> None:
        """The thread begins to write."""
        self._stopping.clear()
        self._thread = Thread(target=self._write_on, name="request-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes what still waits, and ends the thread; a stream that blocks is left behind."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_ENDED_S)

    def _write_on(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(_WRITE_EVERY_S)
            with self._faults.contained(_PLACE):
                self.write()

    def write(self) -> None:
        """Writes what waits now."""
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if lines:
            stream = self._stream or sys.stdout
            try:
                stream.write(b"".join(lines).decode())
                stream.flush()
            except Exception:
                for _ in lines[1:]:  # the fault itself stands for one
                    self._faults.lose(_PLACE)
                raise


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _time(unix_s: float) -> str:
    second = int(unix_s // 1)
    return f"{_second(second).decode()}.{int((unix_s - second) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(unix_s: int) -> bytes:
    """Most lines are of the same second as the one before."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00").encode()
