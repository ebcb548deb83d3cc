"""The flights, read once, and the demo's pipeline fitted on a sample of them."""

from collections.abc import Iterator

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from sightline_service.demo.flights import FEATURES, TARGET, load_flights, replay_months, training_months
from sightline_service.demo.model import make_pipeline

N_SAMPLED = 10_000


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One OpenMP thread: on shared cores two are far slower, because they wait for each other busily."""
    with threadpool_limits(1, user_api="openmp"):
        yield


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """All flights of 2013 that arrived."""
    return load_flights()


@pytest.fixture(scope="session")
def training(flights: pd.DataFrame) -> pd.DataFrame:
    """The flights from January to June."""
    return training_months(flights)


@pytest.fixture(scope="session")
def replayed(flights: pd.DataFrame) -> pd.DataFrame:
    """The flights from July to December."""
    return replay_months(flights)


@pytest.fixture(scope="session")
def sample(training: pd.DataFrame) -> pd.DataFrame:
    """10,000 training flights, drawn with a seed: enough for a model that fits in a second or two."""
    return training.sample(N_SAMPLED, random_state=0)


@pytest.fixture(scope="session")
def fitted(sample: pd.DataFrame) -> Pipeline:
    """The demo's pipeline, fitted on the sample."""
    return make_pipeline().fit(sample[list(FEATURES)], sample[TARGET])
