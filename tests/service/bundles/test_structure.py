"""A model of trusted types whose inner structure would crash or hang compiled code is refused before it is used."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sightline_service.bundles.model_loading import load_model
from sightline_service.errors import BundleError
from tests.service.bundles.poison import with_arrays, with_attribute

_RANDOM = np.random.default_rng(3)
DATA = np.abs(_RANDOM.normal(size=(90, 3)))
LABELS = (DATA[:, 0] + DATA[:, 1] * DATA[:, 2] > 1.4).astype(int)

Tree = NDArray[Any]


def nodes_changed(change: Callable[[Tree], None]) -> Callable[[Tree], Tree | None]:
    """Changes the nodes of every tree, of decision trees and of histogram gradient boosting."""

    def changed(array: Tree) -> Tree | None:
        names = array.dtype.names or ()
        if not {"left", "left_child"} & set(names) or len(array) < 3:
            return None
        change(array)
        return array

    return changed


def _name(tree: Tree, *names: str) -> str:
    return next(name for name in names if name in (tree.dtype.names or ()))


def outside(tree: Tree) -> None:
    """Points outside of the tree."""
    tree[_name(tree, "left", "left_child")][0] = 2_000_000_000


def loop(tree: Tree) -> None:
    """Leads back to the root, for ever."""
    tree[_name(tree, "left", "left_child")][0] = 0
    tree[_name(tree, "right", "right_child")][0] = 0


def feature(tree: Tree) -> None:
    """Reads a feature that no row has."""
    tree[_name(tree, "feature", "feature_idx")][0] = 1_000_000


MODELS: dict[str, Callable[[], Any]] = {
    "tree": lambda: DecisionTreeClassifier(max_depth=3),
    "forest": lambda: RandomForestClassifier(3, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5),
    "calibrated": lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), DecisionTreeClassifier()), cv=2),
    "stacked": lambda: StackingClassifier([("a", RandomForestClassifier(2)), ("b", GaussianNB())], cv=2),
    "voting": lambda: VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())], voting="soft"),
    "bag": lambda: BaggingClassifier(DecisionTreeClassifier(), n_estimators=2, max_features=2),
}


@pytest.mark.parametrize("change", [outside, loop, feature], ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_a_tree_that_leads_astray_is_refused(name: str, change: Callable[[Tree], None]) -> None:
    """No tree, however deeply it stands in a model, points outside of it, leads in a circle, or reads no feature."""
    poisoned = with_arrays(MODELS[name]().fit(DATA, LABELS), nodes_changed(change))
    wrong = {"outside": "points outside", "loop": "before its parent", "feature": "feature that does not exist"}
    with pytest.raises(BundleError, match=f"is broken: its .* {wrong[change.__name__]}.*make the bundle again"):
        load_model(poisoned, ())


@pytest.mark.parametrize("name", MODELS)
def test_a_sound_model_is_loaded(name: str) -> None:
    """What scikit-learn has made passes, and predicts as before."""
    model = MODELS[name]().fit(DATA, LABELS)
    loaded = load_model(with_arrays(model, lambda array: array), ())
    np.testing.assert_array_equal(loaded.predict(DATA), model.predict(DATA))


def _of_shape(shape: tuple[int, ...], changed: Callable[[Tree], Tree]) -> Callable[[Tree], Tree | None]:
    return lambda array: changed(array) if array.shape == shape else None


def support_vectors() -> io.BytesIO:
    """Support vectors of fewer features than the model takes."""
    model = SVC().fit(DATA, LABELS)
    return with_arrays(model, _of_shape(model.support_vectors_.shape, lambda array: np.ascontiguousarray(array[:, :1])))


def too_many_support_vectors() -> io.BytesIO:
    """More support vectors per class than there are."""
    model = SVC().fit(DATA, LABELS)
    counts = model._n_support  # noqa: SLF001
    return with_arrays(model, lambda array: array * 1000 if np.array_equal(array, counts) else None)


def neighbours() -> io.BytesIO:
    """A tree of neighbours that names points which do not exist."""
    model = KNeighborsClassifier(algorithm="kd_tree").fit(DATA, LABELS)
    order = np.sort(np.asarray(model._tree.get_arrays()[1]))  # noqa: SLF001
    return with_arrays(model, lambda array: array + 5000 if np.array_equal(np.sort(array), order) else None)


def unweighted_vote() -> io.BytesIO:
    """Neighbours of a class that does not exist."""
    model = KNeighborsClassifier(algorithm="brute").fit(DATA, LABELS)
    return with_arrays(model, lambda array: array + 10**6 if array.shape == LABELS.shape else None)


def columns_of_categories() -> io.BytesIO:
    """More categories than columns of the sparse matrix that they become."""
    words = np.repeat([["a"], ["b"], ["c"]], 30, axis=0)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(words, LABELS)
    more = np.array(["a", "b", "c", "d", "e", "f"])
    return with_arrays(model, lambda array: more if array.dtype.kind == "U" and len(array) == 3 else None)


def unlimited_features() -> io.BytesIO:
    """An estimator that would check its rows for another number of features than its tree reads."""
    return with_attribute(DecisionTreeClassifier().fit(DATA, LABELS), "n_features_in_", 1)


@pytest.mark.parametrize(
    "poisoned",
    [
        support_vectors,
        too_many_support_vectors,
        neighbours,
        unweighted_vote,
        columns_of_categories,
        unlimited_features,
    ],
    ids=lambda poisoned: poisoned.__name__,
)
def test_other_arrays_that_compiled_code_trusts_are_checked(poisoned: Callable[[], io.BytesIO]) -> None:
    """Shapes and indices of support vectors, neighbours and categories fit one another, or the model is refused."""
    with pytest.raises(BundleError, match=r"is broken: its .*make the bundle again"):
        load_model(poisoned(), ())
