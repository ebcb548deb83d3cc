"""Predicted rows as arrays: what a model received, and what it returned."""

from dataclasses import dataclass

from sightline_telemetry.model.histogram import Codes, Floats


@dataclass(frozen=True, slots=True)
class Rows:
    """Holds the inputs and the outputs of predicted rows.

    numeric: (n_numeric, n_rows) float64, NaN where missing.
    codes: (n_categorical, n_rows) indices into the values of a feature's series.
    outcomes: (n_rows,) indices into the profile's outcomes; None in regression.
    probabilities: (n_rows, n_outcomes); None if the model has none.
    values: (n_rows,) predicted values of a regression; otherwise None.
    """

    numeric: Floats
    codes: Codes
    outcomes: Codes | None
    probabilities: Floats | None
    values: Floats | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return int(self.numeric.shape[1])
