"""Writes predicted rows as bytes: what a request's event carries, and an observer counts."""

from math import nan
from typing import Any

import numpy as np

from sightline_service.prediction.columns import Columns, RowColumns
from sightline_service.prediction.result import ListPrediction, Prediction
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.fold import row_dtype
from sightline_telemetry.model.profile import CategoricalFeature

FEW_ROWS = 8
"""For fewer rows, packing one by one is cheaper than numpy's fixed cost."""


class _Codes(dict[Any, int]):
    """The codes of a feature's values; a value that is not known is unseen."""

    def __init__(self, feature: CategoricalFeature) -> None:
        super().__init__(feature.vocabulary())
        self._unseen = self[None] - 1

    def __missing__(self, value: Any) -> int:
        return self._unseen


class RowEncoder:
    """Encodes the rows of one model in its layout."""

    def __init__(self, model: DescribedModel) -> None:
        layout, categorical = model.row_layout, model.profile.categorical
        self._pack = layout.struct.pack
        self._dtype = row_dtype(layout)
        self._n_numeric = layout.n_numeric
        self._codes = [_Codes(feature) for feature in categorical]
        self._has_outcomes = layout.has_outcomes
        self._has_probabilities = layout.n_probabilities > 0

    def encode(self, columns: Columns, prediction: Prediction) -> bytes:
        """Returns the rows of one response as bytes."""
        if isinstance(columns, RowColumns) and isinstance(prediction, ListPrediction) and len(columns.rows) <= FEW_ROWS:
            return self._encode_few(columns.rows, prediction)
        return self._encode_many(columns, prediction)

    def _encode_few(self, rows: list[tuple[Any, ...]], prediction: ListPrediction) -> bytes:
        lists, n, parts = prediction.lists, self._n_numeric, []
        outcomes, probabilities, values = lists.outcomes, lists.probabilities, lists.values
        for index, row in enumerate(rows):
            numbers = row[:n]
            if None in numbers:
                numbers = tuple([nan if value is None else value for value in numbers])
            codes = [known[value] for known, value in zip(self._codes, row[n:], strict=True)]
            if outcomes is None:
                parts.append(self._pack(*numbers, *codes, values[index]))  # type: ignore[index]  # one of them is there
            elif self._has_probabilities and probabilities is not None:
                parts.append(self._pack(*numbers, *codes, outcomes[index], *probabilities[index]))
            else:
                parts.append(self._pack(*numbers, *codes, outcomes[index]))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _encode_many(self, columns: Columns, prediction: Prediction) -> bytes:
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
