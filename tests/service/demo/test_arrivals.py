"""Labels of the demo: late, some twice, some wrong, and each answered as it should be."""

import shutil
from pathlib import Path
from random import Random

import httpx2 as httpx

from sightline_service.demo.arrivals import MEAN_DELAY_S, Arrivals
from sightline_service.demo.reconciliation import counted
from sightline_service.diagnostics.clients import scraped_samples
from tests.service.running import running

ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
START_S = 100.0


def _send_due(arrivals: Arrivals, client: httpx.Client) -> int:
    """Sends all labels that are due, and returns how many."""
    n_sent = 0
    while labels := arrivals.due():
        arrivals.note(client.post("/feedback", json={"labels": labels}), len(labels))
        n_sent += len(labels)
    return n_sent


def test_labels_come_late_and_are_answered(small_bundle: Path, tmp_path: Path) -> None:
    """No label is due at once; after long enough each was answered by its verdict, and counted so."""
    bundle = shutil.copytree(small_bundle, tmp_path / "bundle")
    now_s = START_S
    arrivals = Arrivals(Random(3), lambda: now_s)
    with running(bundle) as service:
        for _ in range(4):
            for prediction in service.predict([ROW] * 500).json()["predictions"]:
                arrivals.expect(prediction["prediction_id"], Random(prediction["prediction_id"]).choice(["no", "yes"]))
        assert arrivals.due() == []
        now_s = START_S + MEAN_DELAY_S
        n_sent = _send_due(arrivals, service.client)
        assert arrivals.answered.total() == n_sent
        assert 1000 < n_sent < 1400  # of 1800 labels 63 % are due after the mean delay
        now_s = START_S + 20 * MEAN_DELAY_S
        n_sent += _send_due(arrivals, service.client)
        assert arrivals.answered.total() == n_sent
        _, counts = counted(scraped_samples(service.client))
    assert counts == arrivals.answered
    assert 1600 < counts["accepted"] < 1900
    assert min(counts[word] for word in ("accepted", "duplicate", "forged", "unknown_outcome")) > 3
    assert set(+counts) <= {"accepted", "duplicate", "conflict", "forged", "unknown_outcome"}
