"""Random rows of the profile that the tests share: as arrays, as a DataFrame, and as an event carries them."""

import numpy as np
import pandas as pd

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.row_arrays import row_dtype
from sightline_telemetry.instruments import MISSING, UNSEEN
from sightline_telemetry.model.rows import Rows

CITIES = ("Bern", "Oslo", "Rome", UNSEEN, MISSING)


def random_rows(n_rows: int, seed: int = 0) -> tuple[Rows, pd.DataFrame]:
    """Rows as arrays, and the same as a DataFrame."""
    random = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "age": np.where(random.random(n_rows) < 0.2, np.nan, random.normal(40, 20, n_rows)),
            "gain": random.normal(0, 3, n_rows),
            "city": random.choice(CITIES, n_rows),
            "yes": random.random(n_rows),
        }
    )
    codes = np.array([CITIES.index(city) for city in data["city"]], dtype=np.intp)[np.newaxis]
    probabilities = np.column_stack([1 - data["yes"], data["yes"]])
    outcomes = (data["yes"] > 0.5).to_numpy().astype(np.intp)
    return Rows(data[["age", "gain"]].to_numpy().T, codes, outcomes, probabilities), data


def one_row(age: float, probability: float = 0.5, outcome: int = 0) -> Rows:
    """A row of one number, from Bern."""
    probabilities = np.array([[1 - probability, probability]])
    return Rows(np.array([[age], [0.0]]), np.array([[0]]), np.array([outcome]), probabilities)


def encoded(model: DescribedModel, rows: Rows) -> bytes:
    """The rows as bytes, in the layout of the model."""
    found = np.empty(len(rows), row_dtype(model.row_layout))
    found["numeric"], found["codes"] = rows.numeric.T, rows.codes.T
    if rows.outcomes is None:
        found["value"] = rows.values
        return found.tobytes()
    found["outcome"] = rows.outcomes
    if rows.probabilities is not None:
        found["probabilities"] = rows.probabilities
    return found.tobytes()
