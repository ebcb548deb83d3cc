"""Checks what is inside of a loaded model, so that no file of trusted types crashes or hangs the process.

skops checks of which types a file is. Much of scikit-learn is compiled, and trusts the arrays of a fitted model: their
shapes, and what they use as an index. What is checked here is what such code reads without a check of its own.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from scipy.interpolate import BSpline
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.neighbors import BallTree, KDTree
from sklearn.neighbors._base import NeighborsBase
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder
from sklearn.svm._base import BaseLibSVM
from sklearn.tree import BaseDecisionTree
from sklearn.tree._tree import Tree
from sklearn.utils.validation import check_array

from sightline_service.bundles.tree_structure import (
    BrokenStructureError,
    check_neighbours,
    check_predictor,
    check_tree,
    require,
)
from sightline_service.errors import BundleError

MAX_THREADS = 1024
"""With more threads than the system has, OpenMP ends the process."""

_LARGEST_INT32 = 2**31 - 1
_MT19937_WORDS, _PHILOX_WORDS = 624, 4
_PLAIN = (str, bytes, int, float, complex, bool, type(None), np.generic, type)


def check_structure(model: object) -> None:
    """Checks all that a model holds, however deeply. Raises BundleError, which names the part that is broken."""
    for part in _parts(model):
        for kind, check in _CHECKS:
            if isinstance(part, kind):
                try:
                    check(part)
                except BrokenStructureError as error:
                    raise BundleError(f"its {type(part).__name__} {error}") from error
                except Exception as error:  # an attribute is missing, or of a type that scikit-learn does not give it
                    what = f"its {type(part).__name__} is not as scikit-learn makes it"
                    raise BundleError(f"{what}: {type(error).__name__}: {error}") from error


def _parts(model: object) -> Iterator[Any]:
    """Yields each object in a model once."""
    waiting, seen = [model], {id(model): model}
    while waiting:
        part = waiting.pop()
        yield part
        for inner in _inner(part):
            if not isinstance(inner, _PLAIN) and id(inner) not in seen:
                seen[id(inner)] = inner  # the object too: the id of one that is gone would be given to another
                waiting.append(inner)


def _inner(part: Any) -> list[Any]:
    if isinstance(part, np.ndarray):
        return list(part.flat) if part.dtype == object else []
    if isinstance(part, dict):
        return [*part, *part.values()]
    if isinstance(part, list | tuple | set | frozenset):
        return list(part)
    if isinstance(part, partial):
        return [part.func, part.args, part.keywords]
    return list(vars(part).values()) if hasattr(part, "__dict__") and not callable(part) else []


def _check_decision_tree(estimator: Any) -> None:
    if "tree_" in vars(estimator):
        check_tree(estimator.tree_, _n_features(estimator))


def _check_lone_tree(tree: Tree) -> None:
    check_tree(tree, tree.n_features)


def _check_boosting(estimator: Any) -> None:
    """Its stages are added up by compiled code, which takes each for a tree of one output."""
    if "estimators_" not in vars(estimator):
        return
    stages, n_features = estimator.estimators_, _n_features(estimator)
    require(stages.ndim == 2 and stages.size, "has no stages")
    for stage in stages.flat:
        require(isinstance(stage, BaseDecisionTree), "has a stage that is no tree")
        check_tree(stage.tree_, n_features)
        require(stage.tree_.n_outputs == 1, "has a stage of several outputs")
    started = estimator._raw_predict_init(np.zeros((1, n_features), dtype=np.float32))  # noqa: SLF001
    require(started.shape == (1, stages.shape[1]), "adds to another number of outputs than it starts with")


def _check_histogram_boosting(estimator: Any) -> None:
    if "_predictors" not in vars(estimator):
        return
    n_features = _n_features(estimator)
    is_categorical = np.asarray(estimator._bin_mapper.is_categorical_)  # noqa: SLF001
    require(is_categorical.shape == (n_features,), "has bins for another number of features")
    require(np.isin(is_categorical, (0, 1)).all(), "has a feature that is neither numeric nor categorical")
    require(len(estimator._bin_mapper.bin_thresholds_) == n_features, "has bins for another number of features")  # noqa: SLF001
    for stage in estimator._predictors:  # noqa: SLF001
        for predictor in stage:
            check_predictor(predictor, is_categorical != 0)
    if (preprocessor := vars(estimator).get("_preprocessor")) is not None:
        _check_preprocessor(preprocessor, n_features)


def _check_preprocessor(preprocessor: Any, n_features: int) -> None:
    """Histogram gradient boosting sorts categorical features to the front with it; none gets lost, none is added."""
    require(type(preprocessor) is ColumnTransformer, "prepares its inputs with something else than scikit-learn does")
    taken = np.zeros(n_features, dtype=np.intp)
    for _, step, columns in preprocessor.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        is_checked = isinstance(step, FunctionTransformer) and isinstance(step.func, partial)
        is_known = type(step) is OrdinalEncoder or (is_checked and step.func.func is check_array)
        require(is_known, "prepares its inputs with something else than scikit-learn does")
        taken[np.asarray(columns)] += 1
    require((taken == 1).all(), "does not prepare each input once")


def _check_support_vectors(estimator: Any) -> None:
    if "support_vectors_" not in vars(estimator):
        return
    require("_impl" not in vars(estimator), "is of another kind than its type")
    is_classifier = estimator._impl in ("c_svc", "nu_svc")  # noqa: SLF001
    counts = np.asarray(estimator._n_support)  # noqa: SLF001
    n_classes = len(counts) if is_classifier else 2
    n_pairs = n_classes * (n_classes - 1) // 2
    vectors, weights = estimator.support_vectors_, estimator._dual_coef_
    support = np.asarray(estimator.support_)
    n_vectors = len(support)
    require(n_classes >= 2, "has one class only")
    if is_classifier:
        require(len(estimator.classes_) == n_classes, "has support vectors for another number of classes")
        require((counts >= 0).all() and counts.sum() == n_vectors, "counts other support vectors than it has")
    require(weights.shape == (n_classes - 1, n_vectors), "has weights for other support vectors than it has")
    require(not sparse.issparse(weights) or weights.nnz == n_vectors * (n_classes - 1), "lacks weights")
    require(len(estimator._intercept_) == n_pairs, "has intercepts for another number of classes")
    for name in ("_probA", "_probB"):
        require(len(vars(estimator).get(name, ())) in (0, n_pairs), "is calibrated for another number of classes")
    require(((support >= 0) & (support < estimator.shape_fit_[0])).all(), "has a support vector that does not exist")
    if estimator.kernel == "precomputed" or callable(estimator.kernel):
        require(_n_features(estimator) == estimator.shape_fit_[0], "has a kernel of another size")
    else:
        require(vectors.shape == (n_vectors, _n_features(estimator)), "has support vectors of another shape")
    is_sparse = estimator._sparse  # noqa: SLF001
    require(sparse.issparse(vectors) == sparse.issparse(weights) == bool(is_sparse), "is sparse in parts")


def _check_neighbours_model(estimator: Any) -> None:
    fitted = vars(estimator)
    if "_fit_X" not in fitted:
        return
    points = fitted["_fit_X"]
    n_points = points.shape[0]
    require(points.shape[1] == _n_features(estimator), "holds points of another number of features")
    require(fitted.get("n_samples_fit_", n_points) == n_points, "holds another number of points than it says")
    if (tree := fitted.get("_tree")) is not None:
        require(isinstance(tree, KDTree | BallTree), "has no tree of scikit-learn's")
        require(tree.get_arrays()[0].shape == points.shape, "has a tree of other points")
    if "_y" in fitted:
        targets = np.asarray(fitted["_y"])
        require(len(targets) == n_points, "holds another number of targets than of points")
        if "classes_" in fitted:
            is_several = bool(fitted.get("outputs_2d_"))
            n_classes = min(map(len, fitted["classes_"])) if is_several else len(fitted["classes_"])
            require(((targets >= 0) & (targets < n_classes)).all(), "holds a target that is no class")


def _check_clusters(estimator: Any) -> None:
    if "cluster_centers_" not in vars(estimator):
        return
    centers = estimator.cluster_centers_
    require(centers.ndim == 2 and len(centers), "has no clusters")
    require(centers.shape[1] == _n_features(estimator), "has clusters of another number of features")
    require(1 <= vars(estimator).get("_n_threads", 1) <= MAX_THREADS, "wants more threads than a machine has")


def _check_one_hot(encoder: Any) -> None:
    """Its codes become the columns of a sparse matrix, which nothing checks."""
    if "categories_" not in vars(encoder):
        return
    for feature, categories in enumerate(encoder.categories_):
        codes = np.arange(len(categories))
        if encoder._infrequent_enabled:  # noqa: SLF001
            mapping = encoder._default_to_infrequent_mappings[feature]  # noqa: SLF001
            require(mapping is None or len(mapping) == len(codes), "groups other categories than it has")
            codes = codes if mapping is None else np.asarray(mapping)
        dropped = encoder._drop_idx_after_grouping  # noqa: SLF001
        if dropped is not None and dropped[feature] is not None:
            codes = codes[codes != dropped[feature]]
            codes = codes - (codes > dropped[feature])
        n_columns = encoder._n_features_outs[feature]  # noqa: SLF001
        require(n_columns >= 0 and ((codes >= 0) & (codes < n_columns)).all(), "has more categories than columns")


def _check_vocabulary(vectorizer: Any) -> None:
    words = vars(vectorizer).get("vocabulary_")
    if words is not None:
        require(all(0 <= column < len(words) for column in words.values()), "has a word in a column that is not there")


def _check_hasher(hasher: Any) -> None:
    require(1 <= hasher.n_features <= _LARGEST_INT32, "hashes to no column")


def _check_sparse(matrix: Any) -> None:
    if matrix.format in ("csr", "csc", "bsr"):
        matrix.check_format(full_check=True)
    elif matrix.format == "coo":
        for indices, size in zip(matrix.coords, matrix.shape, strict=True):
            require(((indices >= 0) & (indices < size)).all(), "has an entry outside of it")
    else:
        raise BrokenStructureError(f"is of the form {matrix.format}, in which no model of scikit-learn's is")


def _check_spline(spline: BSpline) -> None:
    for array in (spline.t, spline.c):
        require(
            isinstance(array, np.ndarray) and array.dtype == np.float64, "has knots or coefficients of another type"
        )
    BSpline(spline.t, spline.c, spline.k, spline.extrapolate, spline.axis)  # raises for arrays that do not fit


def _check_random(source: Any) -> None:
    """Compiled code reads the next number at the position that the state names."""
    bits = source._bit_generator if isinstance(source, np.random.RandomState) else source.bit_generator  # noqa: SLF001
    state = bits.state
    inner = state.get("state")
    position = inner.get("pos", 0) if isinstance(inner, dict) else 0
    require(0 <= position <= _MT19937_WORDS, "has a position outside of its state")
    require(0 <= state.get("buffer_pos", 0) <= _PHILOX_WORDS, "has a position outside of its buffer")


def _n_features(estimator: Any) -> int:
    """Returns how many features an estimator checks its inputs for; without the attribute it checks nothing."""
    n_features = vars(estimator).get("n_features_in_")
    require(isinstance(n_features, int | np.integer), "does not say how many features it takes")
    return int(n_features)


_CHECKS: tuple[tuple[Any, Callable[[Any], None]], ...] = (
    (BaseDecisionTree, _check_decision_tree),
    (Tree, _check_lone_tree),
    ((GradientBoostingClassifier, GradientBoostingRegressor), _check_boosting),
    ((HistGradientBoostingClassifier, HistGradientBoostingRegressor), _check_histogram_boosting),
    (BaseLibSVM, _check_support_vectors),
    (NeighborsBase, _check_neighbours_model),
    ((KDTree, BallTree), check_neighbours),
    ((KMeans, MiniBatchKMeans), _check_clusters),
    (OneHotEncoder, _check_one_hot),
    (CountVectorizer, _check_vocabulary),
    ((FeatureHasher, HashingVectorizer), _check_hasher),
    ((sparse.sparray, sparse.spmatrix), _check_sparse),
    (BSpline, _check_spline),
    ((np.random.RandomState, np.random.Generator), _check_random),
)
