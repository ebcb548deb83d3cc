"""The drop-ins count what a measurement of frames counts, only what is served, and are scikit-learn's in all else."""

import pickle
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer as SklearnSimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import OneHotEncoder as SklearnOneHotEncoder
from sklearn.preprocessing import StandardScaler

from sightline_telemetry.instruments import (
    FEATURE_IMPUTED,
    FEATURE_MISSING,
    FEATURE_VALUE,
    MISSING,
    PREDICTION_SCORE,
    PREDICTIONS,
    UNSEEN,
)
from sightline_telemetry.measurement import Measurement
from sightline_telemetry.model.dataframes import profile_frame
from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.sklearn import OneHotEncoder, SimpleImputer, bind
from tests.telemetry.counted import counted_by

pytestmark = pytest.mark.usefixtures("no_otel_variables")

NUMERIC, CATEGORICAL = ["age", "income"], ["city", "plan"]
IMPUTED = {"age": "median", "income": "median", "city": "most_frequent"}


def rows(n_rows: int, seed: int = 0, *, is_served: bool = True) -> pd.DataFrame:
    """Numbers and words, some of them missing; if served, some that training did not know."""
    random = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "plan": random.choice(["free", "paid"], n_rows),
            "age": random.normal(40, 12 if is_served else 8, n_rows),
            "city": random.choice(["Bern", "Oslo", "Rome", *(["Paris"] if is_served else [])], n_rows),
            "income": random.exponential(3000, n_rows),
        }
    )
    data.loc[random.random(n_rows) < 0.1, "age"] = np.nan
    data.loc[random.random(n_rows) < 0.1, "city"] = None
    return data


def pipeline(*, is_plain: bool = False, n_jobs: int | None = None) -> Pipeline:
    """Imputers and encoders, ours or scikit-learn's; `plan` meets an encoder at once."""
    impute, encode = (SklearnSimpleImputer, SklearnOneHotEncoder) if is_plain else (SimpleImputer, OneHotEncoder)
    numeric = Pipeline([("impute", impute(strategy="median")), ("scale", StandardScaler())])
    city = Pipeline([("impute", impute(strategy="most_frequent")), ("encode", encode(handle_unknown="ignore"))])
    prepare = ColumnTransformer(
        [("numeric", numeric, NUMERIC), ("city", city, ["city"]), ("plan", encode(), [0])], n_jobs=n_jobs
    )
    return Pipeline([("prepare", prepare), ("classify", LogisticRegression())])


TRAINING = rows(600, 1, is_served=False)
LABELS = np.where(TRAINING["income"] > 2000, "yes", "no")


@pytest.fixture(scope="module")
def fitted() -> Pipeline:
    """The pipeline with drop-ins, fitted and not bound."""
    return pipeline().fit(TRAINING, LABELS)


@pytest.fixture(scope="module")
def trained(fitted: Pipeline) -> ReferenceProfile:
    """Its profile."""
    outputs = fitted.predict(TRAINING), fitted.predict_proba(TRAINING)
    return profile_frame(TRAINING, LABELS, *outputs, imputed_by=IMPUTED)


@pytest.fixture
def measure(trained: ReferenceProfile) -> Iterator[Measurement]:
    """A measurement that has counted nothing."""
    with Measurement("m", "1", trained) as measurement:
        yield measurement


def counted(measure: Measurement) -> dict[str, object]:
    """All that was counted of inputs."""
    found = counted_by(measure)
    return {
        "categories": found.categories(),
        "missing": found.numbers(FEATURE_MISSING),
        "imputed": found.numbers(FEATURE_IMPUTED),
        "outside": found.out_of_range(),
        "values": {name: (s.counts, round(s.sum, 6)) for name, s in found.histograms(FEATURE_VALUE).items()},
    }


def test_they_count_what_a_measurement_of_a_frame_counts(
    fitted: Pipeline, trained: ReferenceProfile, measure: Measurement
) -> None:
    """The same rows through the drop-ins and as a frame are the same counts, of inputs and outputs."""
    data = rows(3000)
    assert bind(fitted, measure) == ()
    probabilities = fitted.predict_proba(data)
    predicted = fitted.classes_[probabilities.argmax(axis=1)]
    measure.outputs(predicted, probabilities)
    with Measurement("m", "1", trained) as by_frame:
        by_frame(data, predicted, probabilities)
    assert counted(measure) == counted(by_frame)
    found, expected = counted_by(measure), counted_by(by_frame)
    assert found.numbers(PREDICTIONS) == expected.numbers(PREDICTIONS)
    assert found.histograms(PREDICTION_SCORE)["yes"] == expected.histograms(PREDICTION_SCORE)["yes"]
    categories = found.categories()["city"]
    imputed = found.numbers(FEATURE_IMPUTED)["city", "most_frequent"]
    assert categories[MISSING] == int(data["city"].isna().sum()) == imputed
    assert categories[UNSEEN] == int((data["city"] == "Paris").sum()) > 0


def test_they_transform_as_scikit_learn_does(fitted: Pipeline) -> None:
    """Predictions equal those of the same pipeline made of scikit-learn's own classes."""
    plain = pipeline(is_plain=True).fit(TRAINING, LABELS)
    np.testing.assert_array_equal(fitted.predict_proba(rows(100)), plain.predict_proba(rows(100)))


def test_what_is_fitted_is_not_counted(measure: Measurement) -> None:
    """Fitting transforms too, and counts nothing, not even where a bound model is fitted again."""
    model = pipeline().fit(TRAINING, LABELS)
    bind(model, measure)
    model.fit(TRAINING, LABELS)
    model.predict(TRAINING)
    assert sum(counted_by(measure).categories()["plan"].values()) == 0
    imputer = SimpleImputer().fit(TRAINING[NUMERIC])
    bind(imputer, measure)
    imputer.fit_transform(TRAINING[NUMERIC])
    assert counted_by(measure).numbers(FEATURE_MISSING)["age"] == 0


def test_clones_and_pickles_are_fitted_the_same_and_not_bound(fitted: Pipeline, measure: Measurement) -> None:
    """A clone has the same parameters, a pickle the same predictions; both count only once they are bound."""
    bind(fitted, measure)
    assert repr(clone(fitted)) == repr(fitted)
    loaded = pickle.loads(pickle.dumps(fitted))  # noqa: S301  # our own
    np.testing.assert_array_equal(loaded.predict(rows(50)), fitted.predict(rows(50)))
    assert sum(counted_by(measure).categories()["plan"].values()) == 50
    assert bind(loaded, measure) == ()
    loaded.predict(rows(50))
    assert sum(counted_by(measure).categories()["plan"].values()) == 100


def test_a_search_counts_nothing_and_its_best_model_can_be_bound(measure: Measurement) -> None:
    """GridSearchCV fits and scores without counting; the model that it found counts once it is bound."""
    search = GridSearchCV(pipeline(), {"prepare__numeric__impute__strategy": ["mean", "median"]}, cv=2)
    search.fit(TRAINING, LABELS)
    assert bind(search, measure) == ()
    assert sum(counted_by(measure).categories()["plan"].values()) == 0
    search.predict(rows(20))
    assert sum(counted_by(measure).categories()["plan"].values()) == 20


def test_rows_that_are_refused_are_not_counted(fitted: Pipeline, measure: Measurement) -> None:
    """An encoder that refuses a category raises as ever, and has counted nothing."""
    bind(fitted, measure)
    with pytest.raises(ValueError, match="Found unknown categories"):
        fitted.predict(rows(10).assign(plan="gold"))
    assert sum(counted_by(measure).categories()["plan"].values()) == 0


def test_a_feature_in_two_branches_is_counted_once(measure: Measurement) -> None:
    """Where a feature meets two drop-ins beside one another, the first counts it."""
    union = FeatureUnion([("mean", SimpleImputer()), ("median", SimpleImputer(strategy="median"))])
    union.fit(TRAINING[NUMERIC])
    assert bind(union, measure) == ("plan", "city")
    union.transform(TRAINING[NUMERIC])
    assert counted_by(measure).numbers(FEATURE_MISSING)["age"] == int(TRAINING["age"].isna().sum())


def test_bind_returns_the_features_that_reach_no_drop_in(measure: Measurement) -> None:
    """Features that no drop-in sees as they come are named, so that their missing counts are no surprise."""
    assert bind(pipeline(is_plain=True).fit(TRAINING, LABELS), measure) == tuple(TRAINING.columns)
    behind = Pipeline([("first", SklearnSimpleImputer()), ("second", SimpleImputer())]).fit(TRAINING[NUMERIC])
    assert bind(behind, measure) == tuple(TRAINING.columns)


def test_transformers_in_other_processes_are_refused(measure: Measurement) -> None:
    """Counts of other processes would be lost, so a model that uses them is not bound."""
    model = pipeline().fit(TRAINING, LABELS).set_params(prepare__n_jobs=2)
    with pytest.raises(ValueError, match=r"ColumnTransformer has n_jobs=2.*set n_jobs=None"):
        bind(model, measure)
