"""What predictions mean in counts, against an independent count in pandas."""

import numpy as np
import pandas as pd
import pytest

from telemetry.names import MISSING, UNSEEN
from telemetry.recorder import GATHERED_ROWS, Recorder, Rows

CITIES = ("Bern", "Oslo", "Rome", UNSEEN, MISSING)


def random_rows(n_rows: int, seed: int = 0) -> tuple[Rows, pd.DataFrame]:
    """Rows as the recorder takes them, and the same as a DataFrame."""
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


@pytest.mark.parametrize("n_rows", [1, GATHERED_ROWS - 1, GATHERED_ROWS, 10_000])
def test_counts_equal_pandas(recorder: Recorder, n_rows: int) -> None:
    """Predictions, categories, missing and imputed values, and every bin equal what pandas counts."""
    rows, data = random_rows(n_rows)
    recorder.record(rows)
    late = int((data["yes"] > 0.5).sum())
    assert recorder.predictions() == {"no": n_rows - late, "yes": late}
    assert [feature.categories for feature in recorder.profile.categorical] == [("Bern", "Oslo", "Rome")]
    assert recorder.categories()["city"] == {city: int((data["city"] == city).sum()) for city in CITIES}
    assert recorder.missing() == {
        "age": int(data["age"].isna().sum()),
        "gain": 0,
        "city": int((data["city"] == MISSING).sum()),
    }
    for feature in recorder.profile.numeric:
        edges = [-np.inf, *feature.bounds, np.inf]
        expected = pd.cut(data[feature.name], edges).value_counts(sort=False).tolist()
        assert recorder.values()[feature.name].counts == expected
        assert recorder.values()[feature.name].sum == pytest.approx(data[feature.name].sum())
    assert recorder.scores()["yes"].count == n_rows
    assert recorder.scores()["yes"].sum == pytest.approx(data["yes"].sum())


def test_a_reader_sees_every_row(recorder: Recorder) -> None:
    """Rows that still wait to be counted together are counted before anybody reads."""
    for seed in range(5):
        recorder.record(random_rows(3, seed)[0])
        assert sum(recorder.predictions().values()) == 3 * (seed + 1)


def test_rows_in_pieces_count_as_one(recorder: Recorder) -> None:
    """One request of 1,000 rows and 1,000 of one row are the same counts."""
    rows, _ = random_rows(1000)
    assert rows.outcomes is not None
    assert rows.probabilities is not None
    for i in range(1000):
        piece = slice(i, i + 1)
        recorder.record(
            Rows(rows.numeric[:, piece], rows.codes[:, piece], rows.outcomes[piece], rows.probabilities[piece])
        )
    whole = Recorder(recorder.model, recorder.profile, ("prepare", "classify"))
    whole.record(rows)
    assert recorder.predictions() == whole.predictions()
    assert recorder.categories() == whole.categories()
    assert [s.counts for s in recorder.values().values()] == [s.counts for s in whole.values().values()]


def test_batches_and_errors(recorder: Recorder) -> None:
    """A batch counts its size and the time of its steps; an error its reason."""
    recorder.batch(7, {"prepare": 0.002, "classify": 0.03})
    recorder.error("rejected")
    assert (recorder.batch_size.read().sum, recorder.steps["classify"].read().sum) == (7, 0.03)
    assert recorder.errors() == {"rejected": 1, "failed": 0, "cancelled": 0}
    with pytest.raises(KeyError):
        recorder.error("a reason that nobody knows")
