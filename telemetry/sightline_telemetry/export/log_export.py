"""Sends the lines of the log by OpenTelemetry too, where OTEL_LOGS_EXPORTER asks for it.

The lines are JSON already, with the ids of their traces; here they become log records. OpenTelemetry's own lines are
left out: that an export fails must not be exported.
"""

import json
from collections import deque
from datetime import datetime
from threading import Event, Thread
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from sightline_telemetry.export.exporters import Exporters

MAX_WAITING = 20_000
_WRITE_EVERY_S = 0.1
_STOP_S = 1.0
_SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_NOT_ATTRIBUTES = ("time", "level", "message", "trace_id", "span_id")


class LogExport:
    """Exports lines; `write` does not wait, and drops the oldest of more than MAX_WAITING lines."""

    def __init__(self, exporters: Exporters, resource: Resource) -> None:
        self._provider = LoggerProvider(resource, shutdown_on_exit=False)
        for kind in exporters.kinds("LOGS"):
            self._provider.add_log_record_processor(BatchLogRecordProcessor(exporters.logs(kind)))
        self._logger = self._provider.get_logger("sightline")
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._stopping = Event()
        self._thread = Thread(target=self._emit_on, name="log-export", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Takes a line of JSON."""
        self._waiting.append(line)

    def stop(self) -> None:
        """Sends what waits."""
        self._stopping.set()
        self._thread.join(_STOP_S)
        self._provider.shutdown()

    def _emit_on(self) -> None:
        while not self._stopping.wait(_WRITE_EVERY_S):
            self._emit_waiting()
        self._emit_waiting()

    def _emit_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            record = record_of(self._waiting.popleft())
            if record is not None:
                self._logger.emit(record)


def record_of(line: bytes) -> LogRecord | None:
    """Returns the log record of a line of JSON; None for other bytes, and for OpenTelemetry's own lines."""
    try:
        fields: dict[str, Any] = json.loads(line)
        time = datetime.fromisoformat(fields["time"])
        level, message = str(fields["level"]), fields["message"]
    except (ValueError, KeyError, TypeError):
        return None
    if str(fields.get("logger")).startswith("opentelemetry"):
        return None
    return LogRecord(
        timestamp=round(time.timestamp() * 1000) * 1_000_000,
        context=_context(fields),
        severity_text=level.upper(),
        severity_number=_SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
        body=message,
        attributes={name: _value(each) for name, each in fields.items() if name not in _NOT_ATTRIBUTES},
    )


def _context(fields: dict[str, Any]) -> Context:
    try:
        trace_id, span_id = int(fields["trace_id"], 16), int(fields.get("span_id", "0"), 16)
    except (KeyError, ValueError, TypeError):
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if fields.get("trace_kept") else TraceFlags.DEFAULT)
    span = NonRecordingSpan(SpanContext(trace_id, span_id, False, flags))
    return set_span_in_context(span, Context())


def _value(value: Any) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else json.dumps(value)
