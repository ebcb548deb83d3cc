"""The demo's summary: received beside counted, and one slow request found through an exemplar."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import httpx2 as httpx
from prometheus_client import Metric
from rich.table import Table

from sightline_service.demo.drawing import draw_trace
from sightline_service.demo.replay import Counted
from sightline_telemetry.instruments import (
    FEEDBACK,
    FEEDBACK_REJECTED,
    PREDICTION_ERRORS,
    PREDICTIONS,
    REQUEST_DURATION,
)


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """An exemplar of `/metrics`: how long the request took, and where its trace is."""

    duration_s: float
    trace_id: str


def counted(families: Iterable[Metric]) -> Counted:
    """Returns rows by model and outcome, and failed requests, as the service counted them."""
    counts: Counted = Counter()
    for family in families:
        for sample in family.samples:
            if sample.name == PREDICTIONS.prometheus_name:
                counts[sample.labels["model_name"], sample.labels["outcome"]] += int(sample.value)
            elif sample.name == PREDICTION_ERRORS.prometheus_name and sample.labels["reason"] == "failed":
                counts[sample.labels["model_name"], "failed"] += int(sample.value)
    return counts


def labels_counted(families: Iterable[Metric]) -> Counter[str]:
    """Returns labels by verdict, as the service counted them; the ledger has those of earlier runs too."""
    counts: Counter[str] = Counter()
    for family in families:
        for sample in family.samples:
            if sample.name == FEEDBACK.prometheus_name:
                counts["accepted"] += int(sample.value)
            elif sample.name == FEEDBACK_REJECTED.prometheus_name:
                counts[sample.labels["reason"]] += int(sample.value)
    return counts


def label_comparison(answered: Counter[str], counts: Counter[str]) -> Table:
    """Returns a table of the verdicts that clients received beside those that were counted."""
    table = Table("label", "answered", "counted", "", title="labels sent back, late, some twice, some wrong")
    for verdict in sorted(answered.keys() | {key for key, count in counts.items() if count}):
        mine, theirs = answered[verdict], counts[verdict]
        table.add_row(verdict, f"{mine:,}", f"{theirs:,}", "agree" if mine == theirs else f"{theirs - mine:+,}")
    return table


def slowest(families: Iterable[Metric]) -> SlowRequest | None:
    """Returns the exemplar with the longest duration, of requests for predictions: scrapes take long too."""
    exemplars = [
        SlowRequest(sample.exemplar.value, sample.exemplar.labels["trace_id"])
        for family in families
        if family.name == REQUEST_DURATION.prometheus_name
        for sample in family.samples
        if sample.exemplar is not None and sample.labels["http_route"].startswith("/predict/")
    ]
    return max(exemplars, key=lambda exemplar: exemplar.duration_s, default=None)


def comparison(received: Counted, counts: Counted) -> Table:
    """Returns a table of what clients received beside what was counted."""
    table = Table("model", "outcome", "received", "counted", "", title="received by clients, counted by the service")
    for model, outcome in sorted(received.keys() | {key for key, count in counts.items() if count}):
        mine, theirs = received[model, outcome], counts[model, outcome]
        difference = "agree" if mine == theirs else f"{theirs - mine:+,}"
        table.add_row(model, outcome, f"{mine:,}", f"{theirs:,}", difference)
    return table


def draw_slowest(client: httpx.Client, families: Iterable[Metric]) -> str:
    """Returns a drawing of the slowest request that has an exemplar."""
    slow = slowest(families)
    if slow is None:
        return "no exemplar yet: no request was traced"
    trace = client.get(f"/traces/{slow.trace_id}").raise_for_status().json()
    return f"an exemplar of /metrics stands at {slow.duration_s:.3f} s; it leads to\n{draw_trace(trace)}"
