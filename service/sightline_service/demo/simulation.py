"""Sends a scenario to a running service at a steady rate, whatever the service makes of it, and labels afterwards."""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from random import Random
from time import monotonic, perf_counter
from typing import Any

import httpx2 as httpx
import numpy as np

from sightline_service.bundles.bundle import SampleRow
from sightline_service.demo.arrivals import Arrivals
from sightline_service.demo.flights import FEATURES, load_flights, training_months
from sightline_service.demo.scenarios import DUMMIES, DUMMY_SHARE, Scenario, draw_flights
from sightline_service.demo.stream import FlightStream
from sightline_service.errors import StartupError

ROWS = (1, 1, 1, 2, 4, 8)
"""A request has one of these numbers of rows, each as likely as the other."""

MAX_RUNNING = 500
"""More requests at once than these are not begun: a service that hangs must not fill the memory of this process."""

_TIMEOUT_S = 30.0
_LABELS_EVERY_S = 0.5
_RECENT = 20_000


class SimulationError(StartupError):
    """There is no service, or it does not take flights."""


class Tally:
    """The answers to the requests so far; durations of the last 20,000."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.durations_s: deque[float] = deque(maxlen=_RECENT)
        self.slowest: tuple[float, str] | None = None
        """Duration and trace id."""
        self.last_failed: str | None = None
        """Trace id of the last request that was answered with a 5xx."""

    def add(self, response: httpx.Response, duration_s: float) -> None:
        """Counts one answer."""
        self.statuses[str(response.status_code)] += 1
        self.durations_s.append(duration_s)
        trace_id = response.headers.get("traceresponse", "--").split("-")[1]
        if self.slowest is None or duration_s > self.slowest[0]:
            self.slowest = duration_s, trace_id
        if response.is_server_error:
            self.last_failed = trace_id
        elif response.is_success:
            self.outcomes.update(prediction["outcome"] for prediction in response.json()["predictions"])

    def quantiles_s(self, *levels: float) -> list[float]:
        """Quantiles of the durations, in seconds; nan before the first answer."""
        if not self.durations_s:
            return [float("nan")] * len(levels)
        return [float(value) for value in np.quantile(np.array(self.durations_s), levels)]


class Simulation:
    """One scenario against one service.

    rate: requests per second, which do not wait for one another. arrivals: the labels that follow; some never come,
    and some are wrong.
    """

    def __init__(self, url: str, scenario: Scenario, rate: float, seed: int = 2013) -> None:
        self._url = url
        self._scenario = scenario
        self._rate = rate
        self._random = Random(seed)  # noqa: S311  # traffic, not secrets
        self._seed = seed
        self._stop = asyncio.Event()
        self._running: set[asyncio.Task[Any]] = set()
        self.arrivals = Arrivals(Random(seed + 1))  # noqa: S311
        self.tally = Tally()

    def stop(self) -> None:
        """Ends `run` when the requests under way are answered. Call it on the event loop that runs."""
        self._stop.set()

    def prepare(self) -> FlightStream:
        """Returns the flights to send. Raises SimulationError if the service does not answer or does not take them."""
        self._check_service()
        training = training_months(load_flights())
        return FlightStream(draw_flights(training, self._scenario, np.random.default_rng(self._seed)))

    async def run(self, flights: FlightStream, duration_s: float | None) -> None:
        """Sends requests until the time is over or `stop` is called."""
        until = monotonic() + (duration_s if duration_s is not None else float("inf"))
        limits = httpx.Limits(max_connections=MAX_RUNNING, max_keepalive_connections=50)
        async with httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT_S, limits=limits) as client:
            labelling = asyncio.create_task(self._send_labels(client))
            due = monotonic()
            while monotonic() < until and not self._stop.is_set():
                if len(self._running) < MAX_RUNNING:
                    self._begin(client, flights)
                due = max(due + 1 / self._rate, monotonic() - 1)  # after a pause, a burst of one second at most
                await self._pause(min(due, until) - monotonic())
            await asyncio.gather(*self._running)
            labelling.cancel()

    def _begin(self, client: httpx.AsyncClient, flights: FlightStream) -> None:
        query = DUMMIES.get(self._scenario)
        if query is not None and self._random.random() < DUMMY_SHARE:
            dummy = client.build_request("GET", "/predict/random", params=query)
            task = asyncio.create_task(self._send(client, dummy))
        else:
            task = asyncio.create_task(self._predict(client, flights.take_labelled(self._random.choice(ROWS))))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _predict(self, client: httpx.AsyncClient, flights: list[tuple[SampleRow, str]]) -> None:
        instances = [instance for instance, _ in flights]
        request = client.build_request("POST", "/predict/model", json={"instances": instances})
        response = await self._send(client, request)
        if response is not None and response.is_success:
            for prediction, (_, arrival) in zip(response.json()["predictions"], flights, strict=True):
                self.arrivals.expect(prediction["prediction_id"], arrival)

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response | None:
        start_s = perf_counter()
        try:
            response = await client.send(request)
        except httpx.TransportError:
            self.tally.statuses["no answer"] += 1
            return None
        self.tally.add(response, perf_counter() - start_s)
        return response

    async def _send_labels(self, client: httpx.AsyncClient) -> None:
        while True:
            await asyncio.sleep(_LABELS_EVERY_S)
            if labels := self.arrivals.due():
                try:
                    response = await client.post("/feedback", json={"labels": labels})
                except httpx.TransportError:
                    self.arrivals.answered["no answer"] += len(labels)
                else:
                    self.arrivals.note(response, len(labels))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, seconds))

    def _check_service(self) -> None:
        try:
            documented = httpx.get(f"{self._url}/openapi.json", timeout=10).raise_for_status().json()
            features = documented["components"]["schemas"]["Instance"]["properties"]
        except httpx.TransportError as error:
            raise SimulationError(f"nothing answers at {self._url} ({error}); start the service first") from error
        except (httpx.HTTPStatusError, ValueError, KeyError) as error:
            raise SimulationError(f"what answers at {self._url} is not Sightline ({error!r})") from error
        if set(features) != set(FEATURES):
            raise SimulationError(
                f"the service at {self._url} takes {', '.join(features)}, and what is sent here are flights; "
                "serve the bundle that `sightline train` makes"
            )
        if self._scenario in DUMMIES and "/predict/random" not in documented["paths"]:
            raise SimulationError(
                f"the scenario `{self._scenario}` needs /predict/random; start the service with "
                "SIGHTLINE_RANDOM_ENDPOINT=true"
            )
