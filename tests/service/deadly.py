"""A classifier that ends its own process at some values; a module of its own, because a worker has to import it."""

import os
import signal
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.profiling import make_bundle

DEADLY = -666.0
DEADLY_VALUES = {DEADLY: signal.SIGSEGV, DEADLY - 1: signal.SIGKILL}
"""Values, and the signals that they send: that of a faulty extension, and the kernel's when memory runs out."""

TRUSTED = "tests.service.deadly.DeadlyClassifier"


class DeadlyClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Answers whether the one feature is positive; at one of DEADLY_VALUES, its process ends."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Learns the classes and the name of the feature."""
        self.classes_ = np.unique(y)
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = 1
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Returns (n_rows, 2): 0.9 for the class of the sign."""
        values = np.asarray(X, dtype=float)[:, 0]
        for value in values:
            if value in DEADLY_VALUES:
                os.kill(os.getpid(), DEADLY_VALUES[value])
                signal.pause()
        positive = np.where(values > 0, 0.9, 0.1)
        return np.column_stack([1 - positive, positive])

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Returns (n_rows,) classes."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


def save_deadly_bundle(folder: Path) -> Path:
    """Saves the classifier as a bundle named `deadly`; returns its folder."""
    data = pd.DataFrame({"x": np.random.default_rng(3).normal(0, 1, 200)})
    labels = pd.Series(np.where(data["x"] > 0, "yes", "no"))
    save_bundle(make_bundle(DeadlyClassifier().fit(data, labels), data, labels, name="deadly", version="1"), folder)
    return folder
