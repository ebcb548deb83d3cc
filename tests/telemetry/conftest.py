"""A model to record, with numeric and categorical features, and a recorder of it."""

import numpy as np
import pytest

from telemetry.profile import (
    CategoricalFeature,
    NumericFeature,
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
)
from telemetry.recorder import ModelId, Recorder


@pytest.fixture
def profile() -> ReferenceProfile:
    """1,000 training rows: `age` may be missing and is imputed, `gain` may be negative, `city` has three values."""
    random = np.random.default_rng(3)
    ages = random.normal(40, 10, 1000)
    ages[::10] = np.nan
    numeric: tuple[NumericFeature, ...] = (
        profile_numeric("age", ages, "median"),
        profile_numeric("gain", random.normal(0, 1, 1000)),
    )
    cities = random.choice(["Bern", "Oslo", "Rome"], 1000, p=[0.6, 0.3, 0.1]).tolist()
    categorical: tuple[CategoricalFeature, ...] = (profile_categorical("city", [None, *cities[1:]], "most_frequent"),)
    scores = random.random(1000)
    codes = (scores > 0.5).astype(np.intp)
    outcomes = profile_outcomes(("no", "yes"), codes, codes, np.column_stack([1 - scores, scores]))
    return ReferenceProfile(order=("age", "city", "gain"), numeric=numeric, categorical=categorical, **outcomes)


@pytest.fixture
def recorder(profile: ReferenceProfile) -> Recorder:
    """A recorder that has counted nothing."""
    return Recorder(ModelId("m", "1"), profile, ("prepare", "classify"), lambda: 5)
