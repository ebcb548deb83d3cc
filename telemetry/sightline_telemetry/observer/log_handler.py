"""Sends the records of a worker's loggers to the observer, which writes them."""

import logging
import logging.config

from sightline_telemetry.events.layout import LOG, body_event
from sightline_telemetry.export.logs import JsonFormatter, log_config
from sightline_telemetry.requests.recording import EventSink


class EventHandler(logging.Handler):
    """Formats a record where it is made, and writes it as an event; a stdout that blocks stops no worker."""

    def __init__(self, sink: EventSink) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            self._sink.write_aside(body_event(LOG, self.format(record).encode() + b"\n"))
        except Exception:
            self.handleError(record)


def send_logs(sink: EventSink) -> None:
    """Lets all loggers of this process write events."""
    logging.config.dictConfig(log_config())
    logging.getLogger().handlers = [EventHandler(sink)]
