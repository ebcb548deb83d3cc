"""Checks the arrays by which compiled code walks a tree: it follows their indices wherever they lead."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree

BITSET_WORDS = 8
"""Words of 32 bits in which a split of histogram gradient boosting marks its 256 bins."""


class BrokenStructureError(Exception):
    """A part of a model is not as scikit-learn makes it; the text says in what, after the name of its type."""


def require(is_right: object, wrong: str) -> None:
    """Raises BrokenStructureError with this text unless it is right."""
    if not is_right:
        raise BrokenStructureError(wrong)


def check_tree(tree: Tree, n_features: int) -> None:
    """Checks a tree of a decision tree: every way through it ends, inside of it, and reads features that exist."""
    require(type(tree) is Tree, "has no tree of scikit-learn's")
    require(1 <= tree.node_count <= tree.capacity, "has a number of nodes that it does not hold")
    require(tree.n_features == n_features, f"has a tree for {tree.n_features} features, and {n_features} inputs")
    # Its children are read from the same memory; the number of nodes is checked by now.
    left, right, feature = (np.asarray(each) for each in (tree.children_left, tree.children_right, tree.feature))
    inner = np.flatnonzero(left != -1)  # scikit-learn's TREE_LEAF
    _check_children(inner, left[inner], right[inner], tree.node_count)
    _check_inside(feature[inner], n_features, "splits on a feature that does not exist")
    require(tree.max_depth >= _depth(inner, left, right), "is deeper than it says")


def check_predictor(predictor: TreePredictor, is_categorical: NDArray[np.bool_]) -> None:
    """Checks a tree of histogram gradient boosting. is_categorical: (n_features,) of its bin mapper."""
    require(type(predictor) is TreePredictor, "has a predictor that is no tree")
    nodes, bitsets = predictor.nodes, predictor.raw_left_cat_bitsets
    require(nodes.ndim == 1 and len(nodes), "has a tree without nodes")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    split = nodes[inner]
    _check_children(inner, split["left"], split["right"], len(nodes))
    _check_inside(split["feature_idx"], len(is_categorical), "splits on a feature that does not exist")
    by_category = split[split["is_categorical"] != 0]
    require(is_categorical[by_category["feature_idx"]].all(), "splits a numeric feature by categories")
    require(bitsets.ndim == 2 and bitsets.shape[1] == BITSET_WORDS, "has sets of categories of another size")
    _check_inside(by_category["bitset_idx"], len(bitsets), "splits by a set of categories that does not exist")


def check_neighbours(tree: KDTree | BallTree) -> None:
    """Checks a tree of nearest neighbours: its nodes, the points that they name, and what its metric reads."""
    data, order, nodes, bounds, leaf_size, n_levels, n_nodes, *_, metric, _ = tree.__getstate__()
    n_points, n_features = data.shape
    require(n_points >= 1 and leaf_size >= 1, "has no points")
    require(1 <= n_levels <= 60 and n_nodes == 2**n_levels - 1 == len(nodes), "has a number of nodes that does not fit")
    require(bounds.shape == (2 if isinstance(tree, KDTree) else 1, n_nodes, n_features), "has bounds of another shape")
    require(np.array_equal(np.sort(order), np.arange(n_points)), "does not hold each point once")
    starts, ends = nodes["idx_start"], nodes["idx_end"]
    require(((starts >= 0) & (starts <= ends) & (ends <= n_points)).all(), "has a node whose points do not exist")
    require((nodes["is_leaf"][n_nodes // 2 :] != 0).all(), "has a last level that does not end")
    _, vector, *_ = metric.__getstate__()
    is_weighted = "Minkowski" in type(metric).__name__ and len(vector)  # the others read neither
    require(not is_weighted or len(vector) == n_features, "has a metric for another number of features")


def _check_children(inner: NDArray[np.intp], left: NDArray[Any], right: NDArray[Any], n_nodes: int) -> None:
    for children in (left, right):
        require((children > inner).all(), "has a node before its parent, so that its end may never be reached")
        require((children < n_nodes).all(), "has a node that points outside of it")


def _check_inside(indices: NDArray[Any], n: int, wrong: str) -> None:
    require(((indices >= 0) & (indices < n)).all(), wrong)


def _depth(inner: NDArray[np.intp], left: NDArray[Any], right: NDArray[Any]) -> int:
    """Returns the number of levels below the root; children stand behind their parents."""
    is_inner = np.zeros(len(left), dtype=bool)
    is_inner[inner] = True
    level, depth = np.zeros(1, dtype=np.intp), 0
    while len(level := level[is_inner[level]]):
        level = np.unique(np.concatenate([left[level], right[level]]))
        depth += 1
    return depth
