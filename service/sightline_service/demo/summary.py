"""The demo's summary: received beside counted, and one slow request found through an exemplar."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx2 as httpx
from prometheus_client.samples import Sample
from rich.table import Table

from sightline_service.demo.drawing import draw_trace
from sightline_service.demo.replay import Counted
from sightline_service.diagnostics.clients import read_spans
from sightline_telemetry.instruments import (
    FEEDBACK,
    FEEDBACK_REJECTED,
    PREDICTION_ERRORS,
    PREDICTIONS,
    REQUEST_DURATION,
)


def counted(samples: Iterable[Sample]) -> Counted:
    """Returns rows by model and outcome, and failed requests, as the service counted them."""
    counts: Counted = Counter()
    for sample in samples:
        if sample.name == PREDICTIONS.prometheus_name:
            counts[sample.labels["model_name"], sample.labels["outcome"]] += int(sample.value)
        elif sample.name == PREDICTION_ERRORS.prometheus_name and sample.labels["reason"] == "failed":
            counts[sample.labels["model_name"], "failed"] += int(sample.value)
    return counts


def labels_counted(samples: Iterable[Sample]) -> Counter[str]:
    """Returns labels by verdict, as the service counted them; the ledger has those of earlier runs too."""
    counts: Counter[str] = Counter()
    for sample in samples:
        if sample.name == FEEDBACK.prometheus_name:
            counts["accepted"] += int(sample.value)
        elif sample.name == FEEDBACK_REJECTED.prometheus_name:
            counts[sample.labels["reason"]] += int(sample.value)
    return counts


def comparison(received: Counted, counts: Counted) -> Table:
    """Returns a table of what clients received beside what was counted."""
    table = Table("model", "outcome", "received", "counted", "", title="received by clients, counted by the service")
    return _compared(table, received, counts)


def label_comparison(answered: Counter[str], counts: Counter[str]) -> Table:
    """Returns a table of the verdicts that clients received beside those that were counted."""
    table = Table("label", "answered", "counted", "", title="labels sent back, late, some twice, some wrong")
    return _compared(table, answered, counts)


def draw_slowest(client: httpx.Client, samples: Iterable[Sample]) -> str:
    """Returns a drawing of the slowest request for predictions that has an exemplar: scrapes take long too."""
    exemplars = [
        (sample.exemplar.value, sample.exemplar.labels["trace_id"])
        for sample in samples
        if sample.exemplar is not None and sample.name.startswith(REQUEST_DURATION.prometheus_name)
        if sample.labels["http_route"].startswith("/predict/")
    ]
    if not exemplars:
        return "no exemplar yet: no request was traced"
    duration_s, trace_id = max(exemplars)
    trace = client.get(f"/traces/{trace_id}").raise_for_status().json()
    return (
        f"an exemplar of /metrics stands at {duration_s:.3f} s; it leads to\n{draw_trace(trace_id, read_spans(trace))}"
    )


def _compared(table: Table, received: Counter[Any], counts: Counter[Any]) -> Table:
    """Adds one row per key that was received or counted, and its difference."""
    for key in sorted(received.keys() | {key for key, count in counts.items() if count}):
        mine, theirs = received[key], counts[key]
        difference = "agree" if mine == theirs else f"{theirs - mine:+,}"
        table.add_row(*(key if isinstance(key, tuple) else (key,)), f"{mine:,}", f"{theirs:,}", difference)
    return table
