"""What the service would answer, held to the estimator before it is bundled."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sightline_service.bundles.profiling import make_bundle
from sightline_service.errors import BundleError


def test_rounding_of_one_row_alone_is_no_difference() -> None:
    """Sums of large terms come out a last digit otherwise for one row than for many; such a model is bundled."""
    random = np.random.default_rng(5)
    data = pd.DataFrame(random.normal(size=(500, 20)), columns=list("abcdefghijklmnopqrst"))
    data["id"] = random.integers(10**12, 10**12 + 10**6, 500)
    labels = data["a"] + (data["id"] - 10**12) * 1e-6
    assert make_bundle(LinearRegression().fit(data, labels), data, labels, "model", "1").profile.task == "regression"


def test_a_model_in_single_precision_is_bundled() -> None:
    """What was fitted on float32 computes in it, and rounds otherwise for one row than for many."""
    random = np.random.default_rng(5)
    data = pd.DataFrame(random.random((2000, 6), dtype=np.float32), columns=list("abcdef"))
    labels = pd.Series(np.where(data["a"] > data["b"], "yes", "no"))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, labels)
    assert {feature.dtype for feature in make_bundle(model, data, labels, "m", "1").profile.numeric} == {"float32"}


def _centred(frame: pd.DataFrame) -> pd.DataFrame:
    return frame - frame.mean()


def test_a_row_that_depends_on_its_company_is_refused() -> None:
    """A step that looks at the other rows of a request would answer otherwise from batch to batch."""
    random = np.random.default_rng(5)
    data = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    labels = pd.Series(np.where(data["a"] > data["b"], "yes", "no"))
    model = make_pipeline(FunctionTransformer(_centred), LogisticRegression()).fit(data, labels)
    with pytest.raises(BundleError, match=r"a row by itself is predicted otherwise .* the step 'functiontransformer'"):
        make_bundle(model, data, labels, "model", "1")


def _in_company(frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame) == 1:
        raise ValueError("one row is not enough")
    return frame


def test_a_model_that_refuses_a_row_alone_is_refused() -> None:
    """What the service could not answer is refused in a sentence, with the model's own reason."""
    random = np.random.default_rng(5)
    data = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    labels = pd.Series(np.where(data["a"] > data["b"], "yes", "no"))
    model = make_pipeline(FunctionTransformer(_in_company), LogisticRegression()).fit(data, labels)
    with pytest.raises(
        BundleError, match=r"would not answer for rows like those of training: .* one row is not enough"
    ):
        make_bundle(model, data, labels, "model", "1")


def test_some_infinite_values_in_training_are_left_out_of_the_sample() -> None:
    """JSON has no word for infinity: sample rows are drawn from what is finite, again and again if there is little."""
    random = np.random.default_rng(5)
    data = pd.DataFrame({"a": random.normal(size=150)})
    labels = pd.Series(np.where(data["a"] > 0, "yes", "no"))
    data.loc[:99, "a"] = np.inf
    bundle = make_bundle(HistGradientBoostingClassifier(max_iter=2).fit(data, labels), data, labels, "model", "1")
    assert {row["a"] for row in bundle.sample} <= set(data["a"][100:])
    assert len(bundle.sample) == 150


def test_a_boolean_that_is_missing_is_missing_to_an_encoder_of_booleans() -> None:
    """A row alone whose boolean is missing looks to the encoder as it did in training."""
    random = np.random.default_rng(5)
    data = pd.DataFrame({"asked": random.random(200) < 0.5}).astype(object)
    labels = pd.Series(np.where(random.random(200) < 0.5, "yes", "no"))
    data.loc[::5, "asked"] = np.nan
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(data, labels)
    (asked,) = make_bundle(model, data, labels, "model", "1").profile.categorical
    assert asked.accepts_missing
    assert asked.missing == 40
