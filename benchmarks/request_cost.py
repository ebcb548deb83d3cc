"""What the telemetry costs a request, against the same app without it; and what its event costs the observer.

    uv run python benchmarks/request_cost.py

One bare ASGI endpoint, called in process without a server, with and without the telemetry middleware, in
interleaved rounds. With it, a request gets its ids and its context, is timed, and leaves an event. The observer reads
the events, counts them, and decides about their traces; their latency bucket has an exemplar already, so these are not
kept.
"""

import asyncio
from statistics import median
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.layout import RequestEvent
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.requests.allowance import Allowance, AskedSampler
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.recording import EventList
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.tail_sampling import Reason, SamplingRules, TailSampler

ROUNDS = 15
REQUESTS = 20_000
AIM_US = 10.0


class Nowhere:
    """A writer that counts what it is given."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, event: RequestEvent, kind: RequestKind, reason: str) -> None:  # noqa: ARG002
        """Counts a trace."""
        self.written += 1


async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Answers 200 with two bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def seconds(app: ASGIApp, headers: list[tuple[bytes, bytes]], requests: int = REQUESTS) -> float:
    """Returns the time that some requests take, one after the other."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict/model",
        "query_string": b"",
        "headers": headers,
    }
    start = perf_counter()
    for _ in range(requests):
        await app(scope.copy(), receive, send)
    return perf_counter() - start


def example_event() -> bytes:
    """Returns the event of one request that was answered with 200."""
    events = EventList()
    app = TelemetryMiddleware(endpoint, events, {}, None, Faults(events.write_aside))
    asyncio.run(seconds(app, [], requests=1))
    (event,) = events.read()
    return event


async def main() -> None:
    """Prints the cost of one request in microseconds, median and range over the rounds."""
    writer, events = Nowhere(), EventList()
    faults = Faults(events.write_aside)
    rules = SamplingRules(slow_s=60, allowances=dict.fromkeys(Reason, 0.0) | {Reason.EXEMPLAR: 1.0})
    watch = Watch(SeriesTable(Description(())), TailSampler(rules), Exemplars(3600), writer, _discard, faults)
    measured = TelemetryMiddleware(endpoint, events, {}, AskedSampler(0.0, Allowance(0)), faults)
    plain = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"user-agent", b"benchmark")]
    called = [*plain, (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")]
    for name, headers in (("without traceparent", plain), ("with traceparent", called)):
        bare, full, watched = [], [], []
        for _ in range(ROUNDS):
            bare.append(await seconds(endpoint, headers) / REQUESTS * 1e6)
            full.append(await seconds(measured, headers) / REQUESTS * 1e6)
            start = perf_counter()
            watch.watch(events.read())
            watched.append((perf_counter() - start) / REQUESTS * 1e6)
        costs = sorted(b - a for a, b in zip(bare, full, strict=True))
        print(
            f"{name:22} bare {median(bare):5.2f} us, measured {median(full):5.2f} us: "
            f"costs {median(costs):5.2f} us ({costs[0]:.2f} .. {costs[-1]:.2f}; aim: at most {AIM_US:.0f}), "
            f"and the observer {median(watched):.2f} us"
        )
    print(f"traces kept: {writer.written} of {2 * ROUNDS * REQUESTS:,} requests")


def _discard(line: bytes) -> None:
    """Takes a line of the log."""


if __name__ == "__main__":
    asyncio.run(main())
