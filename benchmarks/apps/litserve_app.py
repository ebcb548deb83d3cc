"""LitServe, batching on, as its documentation writes a server. Runs in an environment of its own.

python litserve_app.py MODEL.joblib PORT
"""

import sys
from typing import Any

import joblib
import litserve
import pandas as pd


class Flights(litserve.LitAPI):  # type: ignore[misc]
    """Rows of all requests of a batch go through the pipeline at once."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Loads the pipeline into the worker."""
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of a request."""
        instances: list[dict[str, Any]] = request["instances"]
        return instances

    def batch(self, inputs: list[list[dict[str, Any]]]) -> tuple[pd.DataFrame, list[int]]:
        """One frame for all requests."""
        return pd.DataFrame([row for rows in inputs for row in rows]).fillna(float("nan")), [len(r) for r in inputs]

    def predict(self, inputs: tuple[pd.DataFrame, list[int]]) -> tuple[Any, list[int]]:
        """Probabilities of all rows."""
        frame, sizes = inputs
        return self.model.predict_proba(frame), sizes

    def unbatch(self, output: tuple[Any, list[int]]) -> list[Any]:
        """Probabilities by request."""
        probabilities, sizes = output
        parts, start = [], 0
        for size in sizes:
            parts.append(probabilities[start : start + size])
            start += size
        return parts

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Outcomes and probabilities of one request."""
        names = self.model.classes_
        return {
            "predictions": [
                {
                    "outcome": str(names[row.argmax()]),
                    "probabilities": dict(zip(map(str, names), row.tolist(), strict=True)),
                }
                for row in output
            ]
        }


if __name__ == "__main__":
    server = litserve.LitServer(Flights(max_batch_size=64, batch_timeout=0.002), accelerator="cpu", fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False, generate_client_file=False
    )
