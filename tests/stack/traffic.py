"""Mixed traffic from several clients, and an account of it that owes nothing to the service's own counts."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from threading import Event, Lock
from time import perf_counter

import httpx2 as httpx
import msgspec

from sightline_service.bundles.bundle import SampleRow
from sightline_service.demo.flights import CATEGORICAL, NUMERIC
from sightline_telemetry.instruments import MISSING, UNSEEN
from sightline_telemetry.requests.timeline import Timeline

N_CLIENTS = 8
MAX_ROWS = 40
UNSEEN_DESTINATION = "XXX"


@dataclass
class Account:
    """What clients sent and received."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    categories: Counter[tuple[str, str]] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    rejected: int = 0
    n_requests: int = 0

    def add_rows(self, rows: list[SampleRow]) -> None:
        """Counts what went in with a request that was answered."""
        for row in rows:
            for name in NUMERIC:
                self.missing[name] += row[name] is None
                self.values[name] += row[name] is not None
            for name in CATEGORICAL:
                value = row[name]
                self.missing[name] += value is None
                label = MISSING if value is None else UNSEEN if value == UNSEEN_DESTINATION else str(value)
                self.categories[name, label] += 1


class Traffic:
    """Sends a fixed number of requests; `halfway` is set when half of them are answered."""

    def __init__(self, url: str, rows: list[SampleRow], n_requests: int, slow_s: float) -> None:
        self._url = url
        self._rows = rows
        self._n_requests = n_requests
        self._slow_s = slow_s
        self._lock = Lock()
        self.account = Account()
        self.halfway = Event()

    def run(self) -> Account:
        """Sends everything from N_CLIENTS clients and returns the account."""
        with ThreadPoolExecutor(N_CLIENTS) as clients:
            running = [clients.submit(self._client, number) for number in range(N_CLIENTS)]
            for future in running:
                future.add_done_callback(self._stop_waiting_if_failed)
            for future in running:
                future.result()
        return self.account

    def _stop_waiting_if_failed(self, client: "Future[None]") -> None:
        if client.exception() is not None:
            self.halfway.set()

    def _client(self, number: int) -> None:
        random = Random(number)
        with httpx.Client(base_url=self._url, timeout=30) as client:
            for _ in range(number, self._n_requests, N_CLIENTS):
                kind = random.choices(("predict", "asked", "bad", "random"), (80, 5, 5, 10))[0]
                if kind == "random":
                    self._random(client)
                elif kind == "bad":
                    self._bad(client)
                else:
                    self._predict(client, random, is_asked=kind == "asked")
                with self._lock:
                    self.account.n_requests += 1
                    if self.account.n_requests * 2 >= self._n_requests:
                        self.halfway.set()

    def _predict(self, client: httpx.Client, random: Random, *, is_asked: bool) -> None:
        rows = random.choices(self._rows, k=random.randint(1, MAX_ROWS))
        if random.random() < 0.1:
            rows = [{**row, "dest": UNSEEN_DESTINATION} for row in rows]
        headers = {"content-type": "application/json"}
        if is_asked:
            caller = Timeline()
            headers["traceparent"] = f"00-{caller.trace_id_hex}-{caller.span_id:016x}-01"
        start = perf_counter()
        response = client.post("/predict/model", content=msgspec.json.encode({"instances": rows}), headers=headers)
        duration_s = perf_counter() - start
        assert response.status_code == httpx.codes.OK, response.text
        answer = response.json()
        with self._lock:
            self.account.add_rows(rows)
            self.account.outcomes.update(("flights", each["outcome"]) for each in answer["predictions"])
            if is_asked:
                assert answer["trace_id"] == caller.trace_id_hex
                self.account.asked.append(answer["trace_id"])
            if duration_s > self._slow_s:
                self.account.slow.append(answer["trace_id"])

    def _random(self, client: httpx.Client) -> None:
        start = perf_counter()
        response = client.get("/predict/random", params={"time_delay_scale": 0.25, "error_rate": 0.3})
        duration_s = perf_counter() - start
        answer = response.json()
        with self._lock:
            if response.status_code == httpx.codes.OK:
                self.account.outcomes["random", answer["predictions"][0]["outcome"]] += 1
            else:
                self.account.failed.append(answer["trace_id"])
            if duration_s > self._slow_s:
                self.account.slow.append(answer["trace_id"])

    def _bad(self, client: httpx.Client) -> None:
        response = client.post("/predict/model", json={"instances": [{"dest": 7}]})
        assert response.status_code == httpx.codes.UNPROCESSABLE_CONTENT
        with self._lock:
            self.account.rejected += 1
