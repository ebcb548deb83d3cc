"""Computes histogram gradient boosting by a table: for each input and bin, the leaves that can still be reached.

This is the idea of QuickScorer (Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive
ensembles of regression trees", SIGIR 2015): bit vectors of leaves, ANDed; here one per input and bin, not per split.
The conditions along the way to a leaf fall into conditions on single inputs. So the leaves that a row reaches
are the AND, over its inputs, of the leaves that each input alone leaves open: one in each tree.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from sys import float_info
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from sightline_service.prediction.fastpath.ready import Column, Lookup, Numeric, Vocabulary, lookup
from sightline_telemetry.model.histogram import Codes, Floats

KNOWN = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
MAX_LEAVES = 32
MAX_MASKS = 16_000_000
"""Masks in all tables together, at most (64 MB)."""

TABLE_ROWS = 1_000
"""For more rows the estimator's own C code, on the ready matrix, is faster than the table."""

_IDENTITY_LOSSES = ("squared_error", "absolute_error", "quantile")

Masks = NDArray[np.uint32]


class TreeTable:
    """Sums the leaves that a row reaches. Raises ValueError for trees or columns that do not fit into a table.

    scikit-learn has no public way to the trees of this estimator; without `_predictors` it is called as it is.
    """

    def __init__(
        self, estimator: Any, columns: Sequence[Column], n_numeric: int, vocabularies: Sequence[Vocabulary]
    ) -> None:
        trees = _trees(estimator)
        self._n_scores = int(estimator.n_trees_per_iteration_)
        self._baseline = np.ravel(estimator._baseline_prediction).astype(np.float64)  # noqa: SLF001
        self._n_trees = len(trees)
        self._values = np.zeros((len(trees), MAX_LEAVES))
        for index, nodes in enumerate(trees):
            leaves = nodes["value"][nodes["is_leaf"].astype(bool)]
            self._values[index, : len(leaves)] = leaves
        self._flat_values = self._values.ravel()
        inputs = _by_input(columns)
        self._edges = [_edges(inputs.get((Numeric, i), {}), trees) for i in range(n_numeric)]
        self._masks: list[Masks] = []
        for index, edges in enumerate(self._edges):
            values = np.array([*edges, np.nan])  # a bin is given by its upper edge; the last one is for missing values
            with np.errstate(over="ignore"):
                ready = {at: column.of(values) for at, column in inputs.get((Numeric, index), {}).items()}
            masks = _masks(trees, ready, len(values))
            masks = np.insert(masks, len(edges), 0, axis=0)  # beyond the last edge is infinity, which is no number
            masks[0] = 0
            self._masks.append(masks)
        for index, vocabulary in enumerate(vocabularies):
            tables = inputs.get((Lookup, index), {})
            ready = {at: np.asarray(column.values, dtype=np.float64) for at, column in tables.items()}
            self._masks.append(_masks(trees, ready, len(vocabulary) + 1))
        if sum(each.size for each in self._masks) > MAX_MASKS:
            raise ValueError("the table would be too large")
        self._n_numeric = n_numeric
        self._n_bytes = len(trees) * 4
        as_numbers = [[int.from_bytes(row.tobytes(), "little") for row in masks] for masks in self._masks]
        self._numbers = [(edges.tolist(), each, each[-1]) for edges, each in zip(self._edges, as_numbers, strict=False)]
        self._words = [lookup(v, each) for v, each in zip(vocabularies, as_numbers[n_numeric:], strict=True)]
        self.takes_few = self._n_scores == 1
        self.most_rows = TABLE_ROWS

    def few(self, rows: Sequence[Sequence[Any]]) -> list[float] | None:
        """Returns the scores of some rows, values in the order of the profile; None if a value is not finite."""
        n_numeric, n_bytes, values, n_trees = self._n_numeric, self._n_bytes, self._flat_values, self._n_trees
        baseline = float(self._baseline[0])
        scores = []
        for row in rows:
            open_leaves = -1
            for value, (edges, masks, missing) in zip(row, self._numbers):  # noqa: B905  # words follow
                open_leaves &= missing if value is None else masks[bisect_left(edges, value)]
            for word, (mask, unseen) in zip(row[n_numeric:], self._words, strict=True):
                open_leaves &= mask(word, unseen)
            if open_leaves < 0:
                return None
            bits = np.unpackbits(np.frombuffer(open_leaves.to_bytes(n_bytes, "little"), np.uint8), bitorder="little")
            reached = bits.nonzero()[0]
            if len(reached) != n_trees:
                return None
            scores.append(sum(values[reached].tolist(), baseline))  # in the order of the trees, as the estimator adds
        return scores

    def many(self, numeric: Floats, codes: Codes) -> Floats | None:
        """Returns (n_rows, n_scores) of (n_numeric, n_rows) and (n_categorical, n_rows); None as above."""
        n_rows = numeric.shape[1]
        open_leaves = np.full((n_rows, self._n_trees), np.uint32(0xFFFFFFFF))
        for edges, masks, values in zip(self._edges, self._masks, numeric, strict=False):
            bins = edges.searchsorted(values, side="left")
            bins[np.isnan(values)] = len(masks) - 1
            open_leaves &= masks[bins]
        for masks, column in zip(self._masks[self._n_numeric :], codes, strict=True):
            open_leaves &= masks[column]
        if not open_leaves.all():
            return None
        leaves = np.frexp(open_leaves.astype(np.float64))[1] - 1  # each mask has one bit: a power of two
        reached = self._values[np.arange(self._n_trees)[:, np.newaxis], leaves.T]
        each = reached.reshape(-1, self._n_scores, n_rows)
        scores: Floats = (self._baseline[:, np.newaxis] + each.sum(axis=0)).T
        return scores


def _trees(estimator: Any) -> list[Any]:
    """The nodes of every tree, class by class within an iteration; leaves in the order of their nodes."""
    if isinstance(estimator, HistGradientBoostingRegressor) and estimator.loss not in _IDENTITY_LOSSES:
        raise ValueError(f"the loss {estimator.loss!r} has a link of its own")
    if estimator.is_categorical_ is not None:
        raise ValueError("the estimator reads categories itself")
    trees = [predictor.nodes for iteration in estimator._predictors for predictor in iteration]  # noqa: SLF001
    if not trees or max(int(nodes["is_leaf"].sum()) for nodes in trees) > MAX_LEAVES:
        raise ValueError(f"there are no trees, or one has more than {MAX_LEAVES} leaves")
    return trees


def _by_input(columns: Sequence[Column]) -> dict[tuple[type, int], dict[int, Any]]:
    """For each input, its columns by their place in the matrix."""
    inputs: dict[tuple[type, int], dict[int, Any]] = {}
    for at, column in enumerate(columns):
        if not isinstance(column, Numeric | Lookup) or (isinstance(column, Numeric) and not column.is_monotone):
            raise ValueError("a column is not a monotone function of one input")
        inputs.setdefault((type(column), column.feature), {})[at] = column
    return inputs


def _edges(columns: Mapping[int, Numeric], trees: Sequence[Any]) -> Floats:
    """Upper edges of the bins of an input: no split of any of its columns falls within a bin."""
    found = {-np.inf, float_info.max}
    for at, column in columns.items():
        splits = [nodes["num_threshold"][(nodes["feature_idx"] == at) & (nodes["is_leaf"] == 0)] for nodes in trees]
        found.update(_largest_below(column, np.unique(np.concatenate(splits))).tolist())
    return np.array(sorted(found))


def _largest_below(column: Numeric, thresholds: Floats) -> Floats:
    """The largest input for which a column is at most each threshold, exactly: a bisection over all floats."""
    lowest = np.full(len(thresholds), _ordinal(np.array([-float_info.max]))[0])
    highest = np.full(len(thresholds), _ordinal(np.array([float_info.max]))[0])
    with np.errstate(over="ignore"):
        for _ in range(65):
            middle = (lowest >> 1) + (highest >> 1) + (lowest & highest & 1)
            is_below = column.of(_float(middle)) <= thresholds
            lowest = np.where(is_below, middle, lowest)
            highest = np.where(is_below, highest, middle)
        is_top = column.of(_float(highest)) <= thresholds
    return _float(np.where(is_top, highest, lowest))


def _ordinal(values: Floats) -> NDArray[np.int64]:
    """Integers in the order of the floats: neighbours differ by one."""
    bits = values.view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _float(ordinals: NDArray[np.int64]) -> Floats:
    return np.where(ordinals < 0, np.int64(-(2**63)) - ordinals, ordinals).view(np.float64)


def _masks(trees: Sequence[Any], ready: Mapping[int, Floats], n_bins: int) -> Masks:
    """(n_bins, n_trees): the leaves left open by one input; ready: its columns' values, one per bin."""
    masks = np.empty((n_bins, len(trees)), dtype=np.uint32)
    for index, nodes in enumerate(trees):
        masks[:, index] = _open(nodes, ready, n_bins)
    return masks


def _open(nodes: Any, ready: Mapping[int, Floats], n_bins: int) -> Masks:
    number = np.cumsum(nodes["is_leaf"]) - 1
    found = np.zeros(n_bins, dtype=np.uint32)
    waiting = [(0, np.ones(n_bins, dtype=bool))]
    while waiting:
        at, is_open = waiting.pop()
        node = nodes[at]
        if node["is_leaf"]:
            found |= np.where(is_open, np.uint32(1 << int(number[at])), np.uint32(0))
            continue
        values = ready.get(int(node["feature_idx"]))
        if values is None:
            waiting += [(int(node["left"]), is_open), (int(node["right"]), is_open)]
            continue
        goes_left = np.where(np.isnan(values), bool(node["missing_go_to_left"]), values <= node["num_threshold"])
        waiting += [(int(node["left"]), is_open & goes_left), (int(node["right"]), is_open & ~goes_left)]
    return found
