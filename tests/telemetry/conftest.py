"""Models to count: a classifier with numeric and categorical features, one without probabilities, a regressor."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import (
    DriftFloors,
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
    profile_values,
)
from tests.telemetry.serving import describe
from tests.telemetry.sink import Sink, receiving


@pytest.fixture
def profile() -> ReferenceProfile:
    """1,000 training rows in the order of time: `age` may be missing, `gain` negative, `city` has three values."""
    random = np.random.default_rng(3)
    ages = random.normal(40, 10, 1000)
    ages[::10] = np.nan
    cities = random.choice(["Bern", "Oslo", "Rome"], 1000, p=[0.6, 0.3, 0.1]).tolist()
    scores = random.random(1000)
    codes = (scores > 0.5).astype(np.intp)
    return ReferenceProfile(
        order=("age", "city", "gain"),
        numeric=(profile_numeric("age", ages, "median"), profile_numeric("gain", random.normal(0, 1, 1000))),
        categorical=(profile_categorical("city", [None, *cities[1:]], "most_frequent"),),
        floors=DriftFloors(86_400, 30, {"age": {"ks": 0.05, "psi": 0.02}}),
        **profile_outcomes(("no", "yes"), codes, codes, np.column_stack([1 - scores, scores])),
    )


@pytest.fixture
def silent_profile(profile: ReferenceProfile) -> ReferenceProfile:
    """The same of a classifier that has no `predict_proba`."""
    codes = np.repeat([0, 1], 500)
    return replace(profile, **profile_outcomes(("no", "yes"), codes, codes, None))


@pytest.fixture
def regression_profile(profile: ReferenceProfile) -> ReferenceProfile:
    """The same of a regressor whose values are negative as often as not."""
    values = np.random.default_rng(4).normal(0, 100, 1000)
    no_classes: dict[str, Any] = {"outcomes": (), "predicted": (), "labels": (), "scores": ()}
    return replace(profile, **no_classes, **profile_values(values, values + 1))


@pytest.fixture
def model(profile: ReferenceProfile) -> DescribedModel:
    """The classifier, as a service describes it."""
    return DescribedModel(ModelId("m", "1"), profile, ("prepare", "classify"))


@pytest.fixture
def silent_model(silent_profile: ReferenceProfile) -> DescribedModel:
    """The classifier without probabilities, as a service describes it."""
    return DescribedModel(ModelId("m", "1"), silent_profile, ("classify",))


@pytest.fixture
def regression_model(regression_profile: ReferenceProfile) -> DescribedModel:
    """The regressor, as a service describes it."""
    return DescribedModel(ModelId("m", "1"), regression_profile, ("prepare", "estimate"))


@pytest.fixture
def table(model: DescribedModel) -> SeriesTable:
    """The series of a service with one model and two routes."""
    return SeriesTable(describe(model))


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A running OTLP endpoint."""
    with receiving() as server:
        yield server


@pytest.fixture
def exporters_end() -> Iterator[None]:
    """Waits for the threads of exporters that `shutdown` gave up: they try on, at times that they draw from `random`.

    They end when a try has lasted as long as the exporter's timeout, or when its connection is closed.
    """
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)


@pytest.fixture
def no_otel_variables() -> Iterator[None]:
    """No variable of OpenTelemetry before, and the same environment after."""
    with patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            del os.environ[name]
        yield
