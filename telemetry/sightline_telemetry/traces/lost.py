"""What is known of the requests that a dead worker was serving."""

import json
from datetime import UTC, datetime
from time import time_ns
from typing import NamedTuple

from sightline_telemetry.counts.description import Description
from sightline_telemetry.events.http_codes import METHODS
from sightline_telemetry.events.seats import Ended
from sightline_telemetry.events.slots import ANSWERED, PREDICTING, InFlight

MAX_LOST = 64
"""Largest number of requests that are reported of one dead worker."""


class LostRequest(NamedTuple):
    """A request in flight in a worker that died. worker: its index."""

    request: InFlight
    route: str
    worker: int
    ended: Ended

    @property
    def is_cause(self) -> bool:
        """Returns True if the worker was predicting this request when it died."""
        return self.request.phase == PREDICTING

    @property
    def duration_s(self) -> float:
        """Returns how long the request ran, in seconds."""
        return max(0, self.ended.ended_ns - self.request.start_ns) / 1e9

    @property
    def end_unix_ns(self) -> int:
        """Returns the Unix time of the worker's death."""
        return self.request.unix_ns + max(0, self.ended.ended_ns - self.request.start_ns)

    @property
    def name(self) -> str:
        """Returns method and route."""
        return f"{METHODS[self.request.method]} {self.route}".rstrip()


def lost_line(lost: LostRequest, signal_name: str) -> bytes:
    """Returns the log line of a request that ended with its worker."""
    how = "was predicting it" if lost.is_cause else "was lost with it"
    return _line(
        lost.end_unix_ns,
        "sightline_telemetry.requests",
        f"{lost.name} ended by the death of worker {lost.worker} ({signal_name}), which {how}",
        {
            "trace_id": f"{lost.request.trace_id:032x}",
            "span_id": f"{lost.request.span_id:016x}",
            "duration_s": round(lost.duration_s, 6),
            "error.type": signal_name,
            "worker": lost.worker,
        },
    )


def death_line(worker: int, ended: Ended, signal_name: str, n_in_flight: int, n_unsent: int) -> bytes:
    """Returns the log line of a worker's death. n_unsent: counted requests whose answers may not have been sent."""
    message = f"worker {worker} (process {ended.pid}) died of {signal_name} with {n_in_flight} requests in flight"
    if n_unsent:
        message += f" and {n_unsent} counted ones whose answers may not have been sent"
    unix_ns = int(datetime.now(UTC).timestamp() * 1e9)
    return _line(
        unix_ns,
        "sightline_telemetry.workers",
        message,
        {"worker": worker, "error.type": signal_name, "in_flight": n_in_flight, "unsent": n_unsent},
    )


def standstill_line(worker: int, seconds: float, in_flight: list[InFlight], description: Description) -> bytes:
    """Returns the log line of a worker whose event loop stands still, with the requests that it began."""
    running = [request for request in in_flight if request.phase != ANSWERED]
    begun = [request for request in running if request.phase == PREDICTING] or running
    shown = [
        {
            "request": f"{METHODS[each.method]} {description.route(each.route)}".rstrip(),
            "trace_id": f"{each.trace_id:032x}",
        }
        for each in begun[:8]
    ]
    message = f"the event loop of worker {worker} has stood still for {seconds:.1f} s with {len(running)} requests"
    return _line(time_ns(), "sightline_telemetry.workers", message, {"worker": worker, "in_flight": shown})


def _line(unix_ns: int, logger: str, message: str, more: dict[str, object]) -> bytes:
    time = datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"time": time, "level": "error", "logger": logger, "message": message, **more}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
