"""Labels of the replayed flights: they come late, some never, some twice, some wrong, as real labels do."""

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from time import monotonic

import httpx2 as httpx

from sightline_service.demo.flights import IN_TIME, LATE

MEAN_DELAY_S = 5.0
"""A real flight takes hours to arrive, which would be too long to watch."""

NEVER = 0.1
TWICE = 0.05
CONTRADICTED = 0.02
UNKNOWN = 0.01
FORGED = 0.01
"""Shares of the predictions whose label never comes, comes twice, is contradicted later, names an outcome that the
model does not have, or comes with a forged id."""

LABELS_IN_BODY = 500


class Arrivals:
    """Labels that are due later.

    clock: seconds. answered: the verdicts that the service returned for the labels sent so far, counted.
    """

    def __init__(self, random: Random, clock: Callable[[], float] = monotonic) -> None:
        self._random = random
        self._clock = clock
        self._due: list[tuple[float, str, str]] = []
        self.answered: Counter[str] = Counter()

    def expect(self, prediction_id: str, arrival: str) -> None:
        """Plans when the label of a flight is sent, and what is wrong with it."""
        if self._random.random() < NEVER:
            return
        kind = self._random.random()
        if kind < FORGED:
            prediction_id = prediction_id.swapcase()
        elif kind < FORGED + UNKNOWN:
            arrival = "diverted"
        self._plan(prediction_id, arrival)
        if self._random.random() < TWICE:
            self._plan(prediction_id, arrival)
        elif self._random.random() < CONTRADICTED:
            self._plan(prediction_id, LATE if arrival == IN_TIME else IN_TIME)

    def note(self, response: httpx.Response, n_labels: int) -> None:
        """Counts the verdicts of one response to n_labels labels."""
        if response.status_code == httpx.codes.OK:
            self.answered.update(response.json()["labels"])
        else:
            self.answered[f"error {response.status_code}"] += n_labels

    def due(self) -> list[dict[str, str]]:
        """Returns the labels that are due now, each once; at most LABELS_IN_BODY."""
        labels: list[dict[str, str]] = []
        while self._due and self._due[0][0] <= self._clock() and len(labels) < LABELS_IN_BODY:
            _, prediction_id, arrival = heappop(self._due)
            labels.append({"prediction_id": prediction_id, "actual": arrival})
        return labels

    def _plan(self, prediction_id: str, arrival: str) -> None:
        due_s = self._clock() + self._random.expovariate(1 / MEAN_DELAY_S)
        heappush(self._due, (due_s, prediction_id, arrival))
