"""Hands the records of loggers to the log of the observer, which alone writes to stdout."""

import logging
import logging.config
from collections.abc import Callable

from sightline_telemetry.events.layout import LOG, body_event
from sightline_telemetry.export.logs import JsonFormatter, log_config
from sightline_telemetry.requests.recording import EventSink


class LineHandler(logging.Handler):
    """Formats a record where it is made, and hands the line on; a stdout that blocks stops no thread that logs.

    write: takes a line with its line break, and does not wait.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._write_line = write
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Hands on one record."""
        try:
            self._write_line(self.format(record).encode() + b"\n")
        except Exception:
            self.handleError(record)


def send_lines(write: Callable[[bytes], None]) -> None:
    """Lets all loggers of this process hand their lines on."""
    logging.config.dictConfig(log_config())
    logging.getLogger().handlers = [LineHandler(write)]


def send_logs(sink: EventSink) -> None:
    """Lets all loggers of this process write events, which the observer logs."""
    send_lines(lambda line: sink.write_aside(body_event(LOG, line)))
