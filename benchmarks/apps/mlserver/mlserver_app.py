"""A runtime of MLServer for a pipeline that takes a frame, adaptive batching on. Runs in an environment of its own.

mlserver start FOLDER, where FOLDER holds this file, settings.json and model-settings.json
"""

import os
from typing import Any

import joblib
from mlserver import MLModel
from mlserver.codecs import PandasCodec
from mlserver.codecs.numpy import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Flights(MLModel):  # type: ignore[misc]
    """The pipeline behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Loads the pipeline."""
        self.model = joblib.load(os.environ["MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Probabilities; the outcome follows from them."""
        frame = PandasCodec.decode_request(payload).fillna(float("nan"))
        probabilities: Any = self.model.predict_proba(frame)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", probabilities)]
        )
