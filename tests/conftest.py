"""What tests of all rooms share: two bundles, one of the real flights, one small and quick to make."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import settings
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_service.demo.training import train
from tests.leaks import Leaks

# A busy machine makes a test slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Has every test checked for threads and processes that it leaves behind."""
    config.pluginmanager.register(Leaks())


@pytest.fixture(scope="session")
def flights_bundle(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The demo's bundle, trained once; each process of tests has a copy, for a ledger is kept beside a bundle."""
    own = tmp_path_factory.getbasetemp()
    trained = (own if worker_id == "master" else own.parent) / "flights-trained"
    with FileLock(f"{trained}.lock"):
        if not trained.exists():
            train(trained, lambda _: None)
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("flights") / "bundle"))


@pytest.fixture(scope="session")
def small_data() -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """600 rows of `age` (an eighth missing), `income`, `city` and `plan`; two classes, `no` and `yes`."""
    random = np.random.default_rng(7)
    data = pd.DataFrame(
        {
            "city": random.choice(["Bern", "Oslo", "Rome"], 600, p=[0.5, 0.3, 0.2]),
            "age": random.normal(40, 12, 600),
            "plan": random.choice(["free", "paid"], 600),
            "income": random.exponential(3000, 600),
        }
    )
    is_old = data["age"] + random.normal(0, 10, 600) > 42
    labels = pd.Series(["yes" if old else "no" for old in is_old])
    data.loc[::8, "age"] = np.nan
    data.loc[::20, "city"] = np.nan
    return data, labels


@pytest.fixture(scope="session")
def small_model(small_data: tuple[pd.DataFrame, "pd.Series[str]"]) -> Pipeline:
    """Logistic regression behind imputers and encoders; `plan` has an encoder that refuses unseen categories."""
    numeric = Pipeline([("impute", SimpleImputer(strategy="mean")), ("scale", StandardScaler())])
    open_minded = Pipeline(
        [
            ("impute", SimpleImputer(strategy="constant", fill_value="nowhere")),
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        ]
    )
    strict = OneHotEncoder(handle_unknown="error", sparse_output=False)
    preprocess = ColumnTransformer(
        [("numeric", numeric, ["age", "income"]), ("city", open_minded, ["city"]), ("plan", strict, ["plan"])]
    )
    data, labels = small_data
    return Pipeline([("preprocess", preprocess), ("classify", LogisticRegression())]).fit(data, labels)


@pytest.fixture(scope="session")
def small_bundle(
    small_model: Pipeline,
    small_data: tuple[pd.DataFrame, "pd.Series[str]"],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The small model, bundled as `small` version `7`."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    save_bundle(make_bundle(small_model, *small_data, name="small", version="7"), folder)
    return folder
