"""A classifier that ends its own process at one value; a module of its own, because a worker has to import it."""

import os
import signal
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

DEADLY = -666.0


class DeadlyClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Answers whether the one feature is positive; at DEADLY, its process crashes as a faulty extension would."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Learns the classes and the name of the feature."""
        self.classes_ = np.unique(y)
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = 1
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Returns (n_rows, 2): 0.9 for the class of the sign."""
        values = np.asarray(X, dtype=float)[:, 0]
        if (values == DEADLY).any():
            os.kill(os.getpid(), signal.SIGSEGV)
            signal.pause()
        positive = np.where(values > 0, 0.9, 0.1)
        return np.column_stack([1 - positive, positive])

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Returns (n_rows,) classes."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])
