"""BentoML, adaptive batching on, as its documentation writes a service. Runs in an environment of its own.

MODEL=model.joblib bentoml serve bentoml_app:Flights --port PORT
"""

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1, traffic={"timeout": 60}, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Flights:
    """The pipeline, fed with the rows of several requests at once."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=128, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Outcomes and probabilities."""
        probabilities = self.model.predict_proba(pd.DataFrame(instances).fillna(float("nan")))
        names = [str(name) for name in self.model.classes_]
        return [
            {"outcome": names[row.argmax()], "probabilities": dict(zip(names, row.tolist(), strict=True))}
            for row in probabilities
        ]
