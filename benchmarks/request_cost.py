"""What the telemetry costs a request that is not kept, against the same app without it.

    uv run python benchmarks/request_cost.py

One bare ASGI endpoint, called in process without a server, with and without the telemetry middleware, in
interleaved rounds. With it, a request gets its ids and its context, is timed, counted in its histogram, and
decided upon; its latency bucket has an exemplar already, so the trace is not kept.
"""

import asyncio
from statistics import median
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.golden_signals import GoldenSignals
from sightline_telemetry.requests.middleware import TelemetryMiddleware
from sightline_telemetry.requests.tail_sampling import Reason, SamplingRules, TailSampler
from sightline_telemetry.requests.timeline import SpanAttributes, Timeline

ROUNDS = 15
REQUESTS = 20_000
AIM_US = 10.0


class Nowhere:
    """A writer that counts what it is given."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, timeline: Timeline, name: str, attributes: SpanAttributes, *, has_failed: bool) -> None:  # noqa: ARG002
        """Counts a trace."""
        self.written += 1


async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Answers 200 with two bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def seconds(app: ASGIApp, headers: list[tuple[bytes, bytes]]) -> float:
    """The time of REQUESTS requests."""

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
    for _ in range(REQUESTS):
        await app(scope.copy(), receive, send)
    return perf_counter() - start


async def main() -> None:
    """Prints the cost of one request in microseconds, median and range over the rounds."""
    writer = Nowhere()
    rules = SamplingRules(slow_s=60, allowances=dict.fromkeys(Reason, 0.0) | {Reason.EXEMPLAR: 1.0})
    sampler = TailSampler(rules)
    measured = TelemetryMiddleware(endpoint, GoldenSignals(), sampler, writer, Faults("middleware"))
    plain = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"user-agent", b"benchmark")]
    called = [*plain, (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")]
    for name, headers in (("without traceparent", plain), ("with traceparent", called)):
        bare, full = [], []
        for _ in range(ROUNDS):
            bare.append(await seconds(endpoint, headers) / REQUESTS * 1e6)
            full.append(await seconds(measured, headers) / REQUESTS * 1e6)
        costs = sorted(b - a for a, b in zip(bare, full, strict=True))
        print(
            f"{name:22} bare {median(bare):5.2f} us, measured {median(full):5.2f} us: "
            f"costs {median(costs):5.2f} us ({costs[0]:.2f} .. {costs[-1]:.2f}; aim: at most {AIM_US:.0f})"
        )
    print(f"traces kept: {writer.written} of {2 * ROUNDS * REQUESTS:,} requests")


if __name__ == "__main__":
    asyncio.run(main())
