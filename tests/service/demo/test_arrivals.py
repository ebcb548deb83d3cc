"""Labels of the demo: late, some twice, some wrong, and each answered as it should be."""

import shutil
from pathlib import Path
from random import Random

import numpy as np

from sightline_service.demo.arrivals import Arrivals
from sightline_service.demo.summary import labels_counted
from sightline_service.diagnostics.clients import scrape
from tests.service.running import running

ROW = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}


def test_labels_come_late_and_are_answered(small_bundle: Path, tmp_path: Path) -> None:
    """Nothing is due at once; in the end each kind of label was answered as it deserves, and counted so."""
    bundle = shutil.copytree(small_bundle, tmp_path / "bundle")
    now_s = 0.0
    arrivals = Arrivals(Random(3), lambda: now_s)
    with running(bundle) as service:
        for _ in range(4):
            for prediction in service.predict([ROW] * 500).json()["predictions"]:
                arrivals.expect(prediction["prediction_id"], Random(prediction["prediction_id"]).choice(["no", "yes"]))
        arrivals.send(service.client)
        assert arrivals.answered.total() == 0
        for now_s in np.arange(0, 8, 0.5):  # noqa: B007  # it is what the clock shows
            arrivals.send(service.client)
        counts = labels_counted(scrape(service.client))
    assert counts == arrivals.answered
    assert 1000 < counts["accepted"] < 1900
    assert min(counts[word] for word in ("accepted", "duplicate", "forged", "unknown_outcome")) > 3
    assert set(+counts) <= {"accepted", "duplicate", "conflict", "forged", "unknown_outcome"}
