"""The models that are served while they are measured: logistic regression and gradient boosting on the flights.

Fitted once and kept, as a bundle for us and as a joblib file for the others, in SIGHTLINE_BENCH_CACHE or
~/.cache/sightline-bench.
"""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
from sklearn.linear_model import LogisticRegression

import sightline_service.bundles.bundle
import sightline_service.bundles.profiling
import sightline_service.demo.flights
import sightline_service.demo.model
import sightline_telemetry.model.profile
from sightline_service.bundles.bundle import MANIFEST, save_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_service.demo.flights import FEATURES, TARGET, load_flights, replay_months, training_months
from sightline_service.demo.model import gradient_boosting, make_pipeline

CACHE = Path(os.environ.get("BENCH_CACHE", Path.home() / ".cache" / "sightline-bench"))
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "boosting": gradient_boosting,
}
_MADE_BY = (
    sightline_service.bundles.bundle,
    sightline_service.demo.flights,
    sightline_service.demo.model,
    sightline_service.bundles.profiling,
    sightline_telemetry.model.profile,
)
N_ROWS = 8192


def bundle_folder(name: str) -> Path:
    """The bundle of one model, made if this version of the code has not made it yet."""
    folder = _folder() / name
    if not (folder / MANIFEST).exists():
        training = training_months(load_flights())
        data, labels = training[list(FEATURES)], training[TARGET]
        model = make_pipeline(CLASSIFIERS[name]()).fit(data, labels)
        folder.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, folder.with_suffix(".joblib"))
        save_bundle(make_bundle(model, data, labels, "flights", name), folder)
    return folder


def flight_rows() -> list[dict[str, Any]]:
    """Rows of the second half of the year, shuffled: what clients send."""
    path = _folder() / "rows.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = replay_months(load_flights())[list(FEATURES)].sample(N_ROWS, random_state=0)
        path.write_bytes(msgspec.json.encode(rows.astype(object).replace({np.nan: None}).to_dict("records")))
    rows_read: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes())
    return rows_read


def _folder() -> Path:
    digest = sha256()
    for module in _MADE_BY:
        assert module.__file__
        digest.update(Path(module.__file__).read_bytes())
    return CACHE / digest.hexdigest()[:12]
