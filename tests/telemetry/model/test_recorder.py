"""What predictions mean in counts, against an independent count in pandas."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sightline_telemetry.instruments import MISSING, UNSEEN
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile, profile_numeric
from sightline_telemetry.model.recorder import GATHERED_ROWS, Recorder, Rows

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
    confidence = recorder.confidence()
    assert confidence is not None
    assert confidence.count == n_rows
    assert confidence.sum == pytest.approx(np.maximum(data["yes"], 1 - data["yes"]).sum())
    assert recorder.out_of_range() == {
        feature.name: (
            int((data[feature.name] < feature.minimum).sum()),
            int((data[feature.name] > feature.maximum).sum()),
        )
        for feature in recorder.profile.numeric
    }
    assert recorder.imputed() == {
        ("age", "median"): int(data["age"].isna().sum()),
        ("city", "most_frequent"): int((data["city"] == MISSING).sum()),
    }
    assert recorder.rows() == n_rows


def one_row(age: float, probability: float = 0.5, outcome: int = 0) -> Rows:
    """A row of one number, from Bern."""
    probabilities = np.array([[1 - probability, probability]])
    return Rows(np.array([[age], [0.0]]), np.array([[0]]), np.array([outcome]), probabilities)


def test_an_infinite_number_is_out_of_range_and_not_missing(recorder: Recorder) -> None:
    """Infinities are out of range on their side; no imputer fills them in. NaN is missing, and in no range."""
    for age in (np.inf, -np.inf, -np.inf, np.nan, np.nan, np.nan):
        recorder.record(one_row(age))
    assert recorder.out_of_range()["age"] == (2, 1)
    assert recorder.missing()["age"] == recorder.imputed()["age", "median"] == 3
    assert sum(recorder.values()["age"].counts) == 3


def test_the_range_of_training_includes_its_ends(recorder: Recorder) -> None:
    """The least and the greatest training value are in range; the next float beyond each is not."""
    low, high = recorder.profile.numeric[0].minimum, recorder.profile.numeric[0].maximum
    recorder.record(one_row(low))
    recorder.record(one_row(high))
    assert recorder.out_of_range()["age"] == (0, 0)
    recorder.record(one_row(float(np.nextafter(low, -np.inf))))
    recorder.record(one_row(float(np.nextafter(high, np.inf))))
    assert recorder.out_of_range()["age"] == (1, 1)
    assert sum(recorder.values()["age"].counts) == 4


def test_a_feature_without_training_values_has_no_range(profile: ReferenceProfile) -> None:
    """For a feature without a value in training, every value is counted and is never out of range."""
    empty = replace(profile, numeric=(profile_numeric("age", np.full(9, np.nan)), profile.numeric[1]))
    recorder = Recorder(ModelId("m", "1"), empty, ())
    recorder.record(one_row(1e9))
    assert recorder.out_of_range()["age"] == (0, 0)
    assert recorder.values()["age"].counts == [1]


def test_confidence_is_that_in_the_outcome(recorder: Recorder) -> None:
    """Where a threshold was moved, the confidence is P(predicted class), not the largest probability."""
    recorder.record(one_row(40.0, probability=0.3, outcome=1))
    confidence = recorder.confidence()
    assert confidence is not None
    assert confidence.sum == pytest.approx(0.3)


def test_a_reader_sees_every_row(recorder: Recorder) -> None:
    """Rows that still wait to be counted together are counted before a read."""
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
    recorder.batch(7, (0, 2_000_000, 32_000_000), ())
    recorder.error("rejected")
    assert (recorder.batch_sizes().sum, recorder.step_durations()["classify"].sum) == (7, 0.03)
    assert recorder.errors() == {"rejected": 1, "failed": 0, "cancelled": 0}
    with pytest.raises(KeyError):
        recorder.error("an unknown reason")
