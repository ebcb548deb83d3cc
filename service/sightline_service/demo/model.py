"""The demo's pipeline, as a team would write it: plain scikit-learn, without anything of Sightline."""

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sightline_service.demo.flights import CATEGORICAL, NUMERIC


def gradient_boosting() -> HistGradientBoostingClassifier:
    """Returns the demo's classifier, unfitted: trees of at most 31 leaves, no early stopping (decision 3)."""
    return HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, early_stopping=False, random_state=0)


def make_pipeline(classifier: Any = None) -> Pipeline:
    """Returns an unfitted pipeline with the steps `preprocess` and `classify`."""
    numeric = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    categorical = Pipeline(
        [
            # In training none of these is missing, so the encoder would not know a constant in its place.
            ("impute", SimpleImputer(strategy="most_frequent")),
            # After June there are four destinations that training has not seen: they are data, not errors.
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        ]
    )
    preprocess = ColumnTransformer(
        [("numeric", numeric, list(NUMERIC)), ("categorical", categorical, list(CATEGORICAL))]
    )
    return Pipeline([("preprocess", preprocess), ("classify", classifier or gradient_boosting())])
