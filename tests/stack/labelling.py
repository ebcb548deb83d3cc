"""Clients that predict and send the true labels back, whatever is killed meanwhile; they retry until answered."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from threading import Event, Lock
from time import sleep
from typing import Any

import httpx2 as httpx

N_CLIENTS = 6
PAUSE_S = 0.1
LABELS_IN_BODY = 100
SENT_TWICE = 0.1
SENT_TO_BOTH = 0.1


@dataclass(frozen=True)
class Prediction:
    """What a client got: the id, its outcome, P(class) in the order of the classes or a value; the truth."""

    prediction_id: str
    outcome: Any
    scores: tuple[float, ...]
    actual: Any


@dataclass
class Clients:
    """Several clients of some replicas; `answers` holds the verdicts that the clients received."""

    urls: Sequence[str]
    random: Random
    answers: Counter[str] = field(default_factory=Counter)
    done: float = 0.0
    _lock: Lock = field(default_factory=Lock)
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def __enter__(self) -> "Clients":
        """Nothing to do: connections are made where they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self._client.close()

    def post(self, url: str, path: str, body: object) -> Any:
        """Sends until a replica answers: the same replica first, then the others, over and over."""
        for attempt in range(600):
            target = self.urls[(self.urls.index(url) + attempt) % len(self.urls)]
            try:
                response = self._client.post(f"{target}{path}", json=body)
            except httpx.TransportError:
                sleep(PAUSE_S)
                continue
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response.raise_for_status().json()
            sleep(PAUSE_S)
        raise TimeoutError(f"no replica answered {path}")

    def send_labels(self, predictions: Sequence[Prediction], until: Event) -> None:
        """Sends all labels, shuffled, some twice, some to two replicas at once; not the last before `until` is set."""
        twice = self.random.sample(predictions, int(SENT_TWICE * len(predictions)))
        labels = [*predictions, *twice]
        self.random.shuffle(labels)
        bodies = [labels[start : start + LABELS_IN_BODY] for start in range(0, len(labels), LABELS_IN_BODY)]
        with ThreadPoolExecutor(N_CLIENTS) as pool:
            sending = []
            for number, body in enumerate(bodies):
                if number == len(bodies) - N_CLIENTS:
                    until.wait(60)
                to_both = self.random.random() < SENT_TO_BOTH
                targets = self.urls if to_both else [self.random.choice(self.urls)]
                sending += [pool.submit(self._send, url, body) for url in targets]
                while sum(not each.done() for each in sending) > 2 * N_CLIENTS:
                    sleep(0.005)
                self.done = number / len(bodies)
            for each in sending:
                each.result()

    def _send(self, url: str, predictions: Sequence[Prediction]) -> None:
        body = {"labels": [{"prediction_id": each.prediction_id, "actual": each.actual} for each in predictions]}
        answer = self.post(url, "/feedback", body)
        assert len(answer["labels"]) == len(predictions)
        with self._lock:
            self.answers.update(answer["labels"])


def predict(
    clients: Clients, rows: Sequence[dict[str, Any]], actuals: Sequence[Any], chunk: int = 1000
) -> list[Prediction]:
    """Predicts all rows at the first replica."""
    made = []
    for start in range(0, len(rows), chunk):
        answer = clients.post(clients.urls[0], "/predict/model", {"instances": rows[start : start + chunk]})
        for each, actual in zip(answer["predictions"], actuals[start : start + chunk], strict=True):
            scores = tuple(each["probabilities"].values()) if "probabilities" in each else ()
            made.append(Prediction(each["prediction_id"], each.get("outcome", each.get("value")), scores, actual))
    return made
