"""What plain scikit-learn pipelines hold needs no setting, and nothing that runs code is trusted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from sklearn.model_selection import GridSearchCV, StratifiedKFold, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from sightline_service.bundles.trusted_types import TRUSTED_TYPES
from tests.service.zoo import CASES, many, table

_OWN = ("xgboost.", "lightgbm.", "tests.")
DATA = np.random.default_rng(5).normal(size=(60, 3))
LABELS = (DATA[:, 0] > 0).astype(int)

PLAIN: dict[str, Callable[[], Any]] = {
    "neighbours": KNeighborsClassifier,
    "ball tree": lambda: KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    "perceptron": lambda: MLPClassifier((4,), max_iter=3, solver="sgd"),
    "adam": lambda: MLPClassifier((4,), max_iter=3),
    "spline": lambda: make_pipeline(SplineTransformer(), LogisticRegression()),
    "process": lambda: GaussianProcessClassifier(RBF() + WhiteKernel()),
    "search": lambda: GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring="roc_auc", cv=StratifiedKFold(2)),
    "threshold": lambda: TunedThresholdClassifierCV(LogisticRegression(), cv=2),
    "tweedie": lambda: TweedieRegressor(power=0),
}


def untrusted(model: Any) -> set[str]:
    """Returns the types in a model that need the setting."""
    return set(skops.io.get_untrusted_types(data=skops.io.dumps(model))) - set(TRUSTED_TYPES)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", PLAIN)
def test_models_of_scikit_learn_need_no_setting(name: str) -> None:
    """A model made of scikit-learn's own parts is loaded without SIGHTLINE_TRUSTED_TYPES."""
    assert untrusted(PLAIN[name]().fit(DATA, LABELS)) == set()


def test_columns_selected_by_any_type_of_numpy_need_no_setting() -> None:
    """`make_column_selector(dtype_include=np.number)` is what the documentation of scikit-learn shows."""
    numbers = make_column_selector(dtype_include=np.number)
    words = make_column_selector(dtype_include=object)
    columns = make_column_transformer((StandardScaler(), numbers), ("drop", words))
    data = table()[["age", "rooms"]]
    assert untrusted(make_pipeline(columns, LogisticRegression()).fit(data, table()["answer"])) == set()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("name", CASES)
def test_the_zoo_needs_no_setting(name: str) -> None:
    """No pipeline of the tests needs the setting, unless it holds another library's parts, or the user's own."""
    case = CASES[name]
    data = many() if "shop" in case.columns else table()
    features = data[list(case.columns)]
    model = case.make().fit(features.to_numpy() if case.as_array else features, data[case.label])
    assert {each for each in untrusted(model) if not each.startswith(_OWN)} == set()


def test_distributions_are_not_trusted() -> None:
    """Those of scipy.stats run code that stands in their state."""
    assert not [name for name in TRUSTED_TYPES if name.startswith("scipy.stats")]
