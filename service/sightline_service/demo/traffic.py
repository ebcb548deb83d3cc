"""Sends flights to a running service at a steady rate, whatever the service makes of them, and labels afterwards."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random
from time import monotonic, perf_counter
from typing import Any

import httpx2 as httpx
import numpy as np

from sightline_service.demo.arrivals import Arrivals
from sightline_service.demo.stream import FlightStream
from sightline_service.diagnostics.credentials import NONE, Credentials
from sightline_telemetry.requests.timeline import Timeline

ROWS = (1, 1, 1, 2, 4, 8)
"""A request has one of these numbers of rows, each as likely as the other."""

MAX_RUNNING = 500
"""More requests at once than these are not begun: a service that hangs must not fill the memory of this process."""

_TIMEOUT_S = 30.0
_LABELS_PER_S = 2.0
_STOPPED_WITHIN_S = 0.1
_RECENT = 20_000

Counted = Counter[tuple[str, str]]
"""(model, outcome or error) -> rows or requests."""

Step = Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Mix:
    """Describes what is sent, in requests per second: flights, and requests to the dummy model with parameters.

    traced_share: share of the requests with flights whose caller traces them itself.
    """

    flights_per_s: float
    dummies_per_s: float = 0.0
    dummy: Mapping[str, float] = field(default_factory=dict)
    traced_share: float = 0.0


class Tally:
    """Counts the answers to the requests so far; keeps the durations of the last 20,000."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.received: Counted = Counter()
        """Rows by model and outcome, and requests without a prediction."""
        self.durations_s: deque[float] = deque(maxlen=_RECENT)
        self.slowest: tuple[float, str] | None = None
        """Duration and trace id."""
        self.last_failed: str | None = None
        """Trace id of the last request that was answered with a 5xx."""

    def add(self, model: str, response: httpx.Response, duration_s: float) -> None:
        """Counts one answer."""
        self.statuses[str(response.status_code)] += 1
        self.durations_s.append(duration_s)
        trace_id = response.headers.get("traceresponse", "--").split("-")[1]
        if self.slowest is None or duration_s > self.slowest[0]:
            self.slowest = duration_s, trace_id
        if response.is_success:
            self.received.update((model, prediction["outcome"]) for prediction in response.json()["predictions"])
            return
        self.received[model, "failed" if response.is_server_error else f"error {response.status_code}"] += 1
        if response.is_server_error:
            self.last_failed = trace_id

    def add_unanswered(self, model: str) -> None:
        """Counts one request without an answer."""
        self.statuses["no answer"] += 1
        self.received[model, "no answer"] += 1

    def quantiles_s(self, *levels: float) -> list[float]:
        """Returns quantiles of the durations, in seconds; nan before the first answer."""
        if not self.durations_s:
            return [float("nan")] * len(levels)
        return [float(value) for value in np.quantile(np.array(self.durations_s), levels)]


class Traffic:
    """Sends a mix of requests to one service, which do not wait for one another.

    arrivals: the labels that follow; some never come, and some are wrong.
    """

    def __init__(
        self, url: str, flights: FlightStream, mix: Mix, seed: int = 2013, credentials: Credentials = NONE
    ) -> None:
        self._url = url
        self._credentials = credentials
        self._mix = mix
        self._random = Random(seed)  # noqa: S311  # traffic, not secrets
        self.is_stopped = False
        self._running: set[asyncio.Task[None]] = set()
        self.flights = flights
        self.arrivals = Arrivals(Random(seed + 1))  # noqa: S311
        self.tally = Tally()

    def stop(self) -> None:
        """Ends `run` when the requests under way are answered; from any thread."""
        self.is_stopped = True

    async def run(self, duration_s: float | None) -> None:
        """Sends requests until the time is over or `stop` is called."""
        until = monotonic() + (duration_s if duration_s is not None else float("inf"))
        limits = httpx.Limits(max_connections=MAX_RUNNING, max_keepalive_connections=50)
        options = self._credentials.client_options()
        async with httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT_S, limits=limits, **options) as client:
            steps = (
                (self._predict, self._mix.flights_per_s),
                (self._call_dummy, self._mix.dummies_per_s),
                (self._send_labels, _LABELS_PER_S),
            )
            await asyncio.gather(*(self._repeat(step, client, 1 / per_s, until) for step, per_s in steps if per_s))
            await asyncio.gather(*self._running)

    async def _repeat(self, step: Step, client: httpx.AsyncClient, period_s: float, until: float) -> None:
        due = monotonic()
        while not self.is_stopped and (now := monotonic()) < until:
            if now < due:
                await asyncio.sleep(min(due, until, now + _STOPPED_WITHIN_S) - now)
                continue
            if len(self._running) < MAX_RUNNING:
                task = asyncio.create_task(step(client))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            due = max(due + period_s, now - 1)  # after a pause, a burst of one second at most

    async def _predict(self, client: httpx.AsyncClient) -> None:
        flights = self.flights.take_labelled(self._random.choice(ROWS))
        headers = {}
        if self._random.random() < self._mix.traced_share:
            caller = Timeline()
            headers["traceparent"] = f"00-{caller.trace_id_hex}-{caller.span_id:016x}-01"
        body = {"instances": [instance for instance, _ in flights]}
        request = client.build_request("POST", "/predict/model", json=body, headers=headers)
        response = await self._send(client, "flights", request)
        if response is not None and response.is_success:
            for prediction, (_, arrival) in zip(response.json()["predictions"], flights, strict=True):
                self.arrivals.expect(prediction["prediction_id"], arrival)

    async def _call_dummy(self, client: httpx.AsyncClient) -> None:
        await self._send(client, "random", client.build_request("GET", "/predict/random", params=self._mix.dummy))

    async def _send(self, client: httpx.AsyncClient, model: str, request: httpx.Request) -> httpx.Response | None:
        start_s = perf_counter()
        try:
            response = await client.send(request)
        except httpx.TransportError:
            self.tally.add_unanswered(model)
            return None
        self.tally.add(model, response, perf_counter() - start_s)
        return response

    async def _send_labels(self, client: httpx.AsyncClient) -> None:
        if labels := self.arrivals.due():
            try:
                self.arrivals.note(await client.post("/feedback", json={"labels": labels}), len(labels))
            except httpx.TransportError:
                self.arrivals.answered["no answer"] += len(labels)
