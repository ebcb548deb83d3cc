"""What training looked like, with edges that are frozen."""

from pathlib import Path

import numpy as np
import pytest

from sightline_telemetry.model.profile import (
    MAX_CATEGORIES,
    N_BINS,
    SCORE_BOUNDS,
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
    profile_values,
)
from sightline_telemetry.model.profile_file import load_profile, save_profile


def test_deciles_hold_a_tenth_each() -> None:
    """A continuous feature has ten bins with a tenth of the rows in each."""
    feature = profile_numeric("x", np.random.default_rng(0).normal(size=10_000))
    assert len(feature.counts) == len(feature.bounds) + 1 == N_BINS
    assert all(abs(count - 1000) <= 1 for count in feature.counts)
    assert sum(feature.counts) == 10_000


def test_ties_share_an_edge() -> None:
    """A feature of few values has the edges that differ, and every row in a bin."""
    feature = profile_numeric("rain", np.array([0.0] * 95 + [1.0] * 5))
    assert feature.bounds == (0.0,)
    assert feature.counts == (95, 5)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [np.inf]], ids=["no rows", "all missing", "infinite"])
def test_a_feature_without_values(values: list[float]) -> None:
    """A feature without a finite value has one bin, which is empty, and finite statistics."""
    feature = profile_numeric("x", np.array(values))
    assert (feature.bounds, feature.counts) == ((), (0,))
    assert (feature.median, feature.minimum, feature.maximum) == (0.0, 0.0, 0.0)
    assert feature.missing == sum(np.isnan(values))


def test_a_vocabulary_is_most_frequent_first() -> None:
    """Categories are ordered by frequency, then by name; missing ones are counted apart."""
    feature = profile_categorical("c", ["b", "a", "c", "b", None, "a", "b"])
    assert (feature.categories, feature.counts, feature.missing) == (("b", "a", "c"), (3, 2, 1), 1)


def test_rare_categories_are_counted_together() -> None:
    """Known categories beyond the most frequent ones share the label `__other__`, and all are kept in the profile."""
    names = [f"v{i:04}" for i in range(1000)]
    feature = profile_categorical("c", [name for i, name in enumerate(names) for _ in range(1 + (i < 300))])
    assert feature.categories == tuple(names[:MAX_CATEGORIES])
    assert feature.others == tuple(names[MAX_CATEGORIES:])
    assert feature.series_values == (*feature.categories, "__other__", "__unseen__", "__missing__")
    assert feature.series_counts == (*[2] * MAX_CATEGORIES, 2 * 100 + 700, 0, 0)
    assert (feature.other_count, feature.singletons) == (900, 700)


def test_a_regression_has_values() -> None:
    """Predictions and labels of a regression are binned on the deciles of the predictions; nothing else is there."""
    fields = profile_values(np.arange(1000.0), np.full(1000, 2000.0))
    profile = ReferenceProfile(order=(), numeric=(), categorical=(), **fields)
    assert (profile.task, profile.n_rows) == ("regression", 1000)
    assert profile.predicted_values is not None
    assert profile.label_values is not None
    assert profile.predicted_values.counts == (100,) * 10
    assert profile.label_values.counts == (*[0] * 9, 1000)
    assert profile.label_values.bounds == profile.predicted_values.bounds
    assert profile.label_values.sum == 2_000_000.0
    assert (profile.outcomes, profile.predicted, profile.labels, profile.scores) == ((), (), (), ())


@pytest.mark.parametrize("word", ["__missing__", "__unseen__", "__other__"])
def test_reserved_words_are_no_categories(word: str) -> None:
    """A category that would be taken for our own word is refused with its name."""
    with pytest.raises(ValueError, match=f"'c' has the category '{word}'"):
        profile_categorical("c", ["a", word])


def test_scores_of_two_classes_are_the_second_ones() -> None:
    """With two classes only P(second class) is profiled; with three each class is."""
    binary = profile_outcomes(("no", "yes"), np.array([0, 1]), np.array([1, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert [(score.outcome, score.sum) for score in binary["scores"]] == [("yes", pytest.approx(0.9))]
    assert binary["scores"][0].counts[SCORE_BOUNDS.index(0.1)] == 1
    three = profile_outcomes(("a", "b", "c"), np.array([2]), np.array([0]), np.array([[0.2, 0.3, 0.5]]))
    assert [score.outcome for score in three["scores"]] == ["a", "b", "c"]
    assert (three["predicted"], three["labels"]) == ((0, 0, 1), (1, 0, 0))


def test_a_profile_survives_json(profile: ReferenceProfile, tmp_path: Path) -> None:
    """A profile is the same after its way through a JSON file."""
    save_profile(profile, tmp_path / "profile.json")
    assert load_profile(tmp_path / "profile.json") == profile
