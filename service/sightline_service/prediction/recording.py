"""What the event of a request carries of its predicted rows: few as they were read, many as an array."""

import numpy as np

from sightline_service.prediction.columns import Columns, RowColumns
from sightline_service.prediction.result import ListPrediction, Prediction
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.row_arrays import row_dtype
from sightline_telemetry.events.layout import RawRows

FEW_ROWS = 8
"""For fewer rows, values as they were read are cheaper than numpy's fixed cost; the observer looks categories up."""


class RowEncoder:
    """Chooses the form of the rows of one model."""

    def __init__(self, model: DescribedModel) -> None:
        layout = model.row_layout
        self._dtype = row_dtype(layout)
        # Integers of categories may be larger than an event can carry.
        self._takes_raw = all(feature.dtype == "str" for feature in model.profile.categorical)
        self._has_outcomes = layout.has_outcomes
        self._has_probabilities = layout.n_probabilities > 0

    def encode(self, columns: Columns, prediction: Prediction, *, is_small: bool) -> RawRows | bytes:
        """Returns the rows of one response. is_small: no value can be long, because the body is not."""
        if isinstance(columns, RowColumns) and isinstance(prediction, ListPrediction) and is_small:
            rows = columns.rows
            if self._takes_raw and len(rows) <= FEW_ROWS:
                lists = prediction.lists
                return (rows, lists.outcomes, lists.probabilities, lists.values)  # type: ignore[return-value]
        return self._array(columns, prediction)

    def _array(self, columns: Columns, prediction: Prediction) -> bytes:
        numeric, _, codes = columns.arrays
        outcomes, probabilities, values = prediction.arrays
        rows = np.empty(len(prediction), self._dtype)
        rows["numeric"], rows["codes"] = numeric.T, codes.T
        if self._has_outcomes:
            rows["outcome"] = outcomes
            if self._has_probabilities:
                rows["probabilities"] = probabilities
        else:
            rows["value"] = values
        return rows.tobytes()
