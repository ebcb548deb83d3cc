"""Compares what clients received with what the service counted, and follows an exemplar to a slow request."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx2 as httpx
from prometheus_client.samples import Sample
from rich.table import Table

from sightline_service.demo.drawing import draw_trace
from sightline_service.demo.traffic import Counted
from sightline_service.diagnostics.clients import read_spans
from sightline_telemetry import instruments


def counted(samples: Iterable[Sample]) -> tuple[Counted, Counter[str]]:
    """Returns rows and failed requests by model and outcome, and labels by verdict, as the service counted them.

    The ledger has the labels of earlier runs too.
    """
    rows: Counted = Counter()
    labels: Counter[str] = Counter()
    for sample in samples:
        if sample.name == instruments.PREDICTIONS.prometheus_name:
            rows[sample.labels["model_name"], sample.labels["outcome"]] += int(sample.value)
        elif sample.name == instruments.PREDICTION_ERRORS.prometheus_name and sample.labels["reason"] == "failed":
            rows[sample.labels["model_name"], "failed"] += int(sample.value)
        elif sample.name == instruments.FEEDBACK.prometheus_name:
            labels["accepted"] += int(sample.value)
        elif sample.name == instruments.FEEDBACK_REJECTED.prometheus_name:
            labels[sample.labels["reason"]] += int(sample.value)
    return rows, labels


def comparison(table: Table, received: Counter[Any], counts: Counter[Any]) -> Table:
    """Adds to a table one row per key that was received or counted, with both counts and their difference."""
    for key in sorted(received.keys() | {key for key, count in counts.items() if count}):
        mine, theirs = received[key], counts[key]
        difference = "agree" if mine == theirs else f"{theirs - mine:+,}"
        table.add_row(*(key if isinstance(key, tuple) else (key,)), f"{mine:,}", f"{theirs:,}", difference)
    return table


def draw_slowest(client: httpx.Client, samples: Iterable[Sample]) -> str:
    """Returns a drawing of the slowest request for predictions that has an exemplar: scrapes take long too."""
    exemplars = [
        (sample.exemplar.value, sample.exemplar.labels["trace_id"])
        for sample in samples
        if sample.exemplar is not None and sample.name.startswith(instruments.REQUEST_DURATION.prometheus_name)
        if sample.labels["http_route"].startswith("/predict/")
    ]
    if not exemplars:
        return "no exemplar yet: no request was traced"
    duration_s, trace_id = max(exemplars)
    trace = client.get(f"/traces/{trace_id}").raise_for_status().json()
    return (
        f"an exemplar of /metrics stands at {duration_s:.3f} s; it leads to\n{draw_trace(trace_id, read_spans(trace))}"
    )
