"""Sends the flights of July to December to a running service, and some requests to its dummy model."""

from collections import Counter
from collections.abc import Callable
from random import Random
from threading import Event, Thread
from time import monotonic

import httpx2 as httpx
import msgspec

from sightline_service.demo.arrivals import Arrivals
from sightline_service.demo.stream import FlightStream
from sightline_telemetry.requests.timeline import Timeline

DUMMY_PERIOD_S = 0.5
LABEL_PERIOD_S = 0.5
DUMMY = {"time_delay_scale": 0.3, "error_rate": 0.1}
ASKED_SHARE = 0.02
"""Share of the requests whose caller traces them itself."""

Counted = Counter[tuple[str, str]]
"""(model, outcome or error) -> rows or requests."""


class Replay:
    """The traffic of one demo.

    received: rows and failed requests as clients got them. arrivals: the labels that follow.
    """

    def __init__(self, url: str, rate: float, stream: FlightStream, seed: int = 2013) -> None:
        self._url = url
        self._rate = rate
        self._random = Random(seed)  # noqa: S311  # traffic, not secrets
        self._stop = Event()
        self.stream = stream
        self.arrivals = Arrivals(Random(seed + 1))  # noqa: S311
        self.received: Counted = Counter()
        self._dummy_received: Counted = Counter()  # by its own thread
        self.n_requests = 0

    def run(self, duration_s: float | None) -> None:
        """Sends requests until the time is over or `stop` is called."""
        until = monotonic() + (duration_s if duration_s is not None else float("inf"))
        beside = [
            Thread(target=self._repeat, args=(step, period_s, until), daemon=True)
            for step, period_s in ((self.arrivals.send, LABEL_PERIOD_S), (self._call_dummy, DUMMY_PERIOD_S))
        ]
        for thread in beside:
            thread.start()
        self._repeat(self._predict, 1 / self._rate, until)
        for thread in beside:
            thread.join(timeout=15)
        self.received += self._dummy_received

    def stop(self) -> None:
        """Ends `run` after the request that is under way."""
        self._stop.set()

    def _repeat(self, step: Callable[[httpx.Client], None], period_s: float, until: float) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            due = monotonic()
            while monotonic() < until and not self._stop.is_set():
                step(client)
                due = max(due + period_s, monotonic() - 1)
                self._stop.wait(max(0.0, min(due, until) - monotonic()))

    def _predict(self, client: httpx.Client) -> None:
        flights = self.stream.take_labelled(self._random.choice((1, 1, 1, 2, 4, 8)))
        instances = [instance for instance, _ in flights]
        headers = {"content-type": "application/json"}
        if self._random.random() < ASKED_SHARE:
            caller = Timeline()
            headers["traceparent"] = f"00-{caller.trace_id:032x}-{caller.span_id:016x}-01"
        response = client.post("/predict/model", content=msgspec.json.encode({"instances": instances}), headers=headers)
        self.n_requests += 1
        answer = response.json()
        if response.status_code == httpx.codes.OK:
            name = answer["model"]["name"]
            self.received.update((name, prediction["outcome"]) for prediction in answer["predictions"])
            for prediction, (_, arrival) in zip(answer["predictions"], flights, strict=True):
                self.arrivals.expect(prediction["prediction_id"], arrival)
        else:
            self.received["flights", f"error {response.status_code}"] += 1

    def _call_dummy(self, client: httpx.Client) -> None:
        response = client.get("/predict/random", params=DUMMY)
        is_answered = response.status_code == httpx.codes.OK
        outcome = response.json()["predictions"][0]["outcome"] if is_answered else "failed"
        self._dummy_received["random", outcome] += 1
