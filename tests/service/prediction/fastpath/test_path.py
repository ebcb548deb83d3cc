"""The fast path predicts as the pipeline does, whatever its shape; what it cannot read is left to the pipeline."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from sightline_service.bundles.profiling import make_bundle
from sightline_service.bundles.verification import sample_columns
from sightline_service.prediction.columns import ArrayColumns, ColumnBuilder, RowColumns
from sightline_service.prediction.dataframes import FrameBuilder
from sightline_service.prediction.fastpath.linear import MAX_TERMS, FoldedLinear
from sightline_service.prediction.fastpath.path import FEW_ROWS, TIE, FastPath
from sightline_service.prediction.fastpath.ready import Numeric
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.result import Prediction
from sightline_telemetry.model.profile import ReferenceProfile

NUMBERS = ["age", "income", "visits"]
WORDS = ["city", "plan"]


def data(n_classes: int = 2) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """Returns 800 rows with missing numbers and words, and their labels."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "city": random.choice(["Bern", "Oslo", "Rome", "Wien"], 800, p=[0.5, 0.3, 0.15, 0.05]),
            "age": random.normal(40, 12, 800),
            "income": random.exponential(3000, 800),
            "plan": random.choice(["free", "paid"], 800),
            "visits": random.poisson(3, 800).astype(float),
        }
    )
    score = frame["age"] / 12 + (frame["city"] == "Oslo") + random.normal(0, 1, 800)
    labels = pd.Series(pd.qcut(score, n_classes, labels=[f"class {i}" for i in range(n_classes)]).astype(str))
    frame.loc[::8, "age"] = np.nan
    frame.loc[::5, "income"] = np.nan
    frame.loc[::20, "city"] = np.nan
    return frame, labels


def one_hot(**options: Any) -> OneHotEncoder:
    """Returns an encoder that accepts unseen categories."""
    return OneHotEncoder(**{"handle_unknown": "ignore", "sparse_output": False, **options})


def words(encoder: Any) -> Any:
    """Returns a pipeline that imputes words and encodes them."""
    return make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)


def columns(numbers: Any, categories: Any = None, **options: Any) -> ColumnTransformer:
    """Returns a ColumnTransformer with a branch for numbers and one for words."""
    return ColumnTransformer([("n", numbers, NUMBERS), ("w", categories or words(one_hot()), WORDS)], **options)


ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
SIMPLE = make_pipeline(SimpleImputer(), StandardScaler())
LINEAR = LogisticRegression(max_iter=500)
TREES = HistGradientBoostingClassifier(max_iter=12, early_stopping=False, random_state=0)

READ: dict[str, tuple[Any, str]] = {
    "linear": (make_pipeline(columns(SIMPLE), LINEAR), "folded"),
    "sparse": (make_pipeline(columns(SIMPLE, words(one_hot(sparse_output=True))), LINEAR), "folded"),
    "indicator": (
        make_pipeline(columns(make_pipeline(SimpleImputer(add_indicator=True), MinMaxScaler())), LINEAR),
        "fold",
    ),
    "robust": (
        make_pipeline(columns(make_pipeline(SimpleImputer(strategy="median"), RobustScaler())), LINEAR),
        "folded",
    ),
    "max abs": (make_pipeline(columns(make_pipeline(SimpleImputer(), MaxAbsScaler())), LINEAR), "folded"),
    "infrequent": (
        make_pipeline(
            columns(SIMPLE, words(one_hot(min_frequency=0.1, handle_unknown="ignore"))),
            LINEAR,
        ),
        "folded",
    ),
    "target": (make_pipeline(columns(SIMPLE, TargetEncoder()), LINEAR), "folded"),
    "ordinal": (make_pipeline(columns(SIMPLE, make_pipeline(ORDINAL, StandardScaler())), LINEAR), "folded"),
    "selected": (make_pipeline(columns(SIMPLE), VarianceThreshold(), SelectKBest(k=4), LINEAR), "folded"),
    "union": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("n", FeatureUnion([("a", SIMPLE), ("b", MissingIndicator(error_on_new=False))]), NUMBERS),
                    ("w", words(one_hot()), WORDS),
                ]
            ),
            LINEAR,
        ),
        "folded",
    ),
    "nested": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("inner", ColumnTransformer([("age", SIMPLE, ["age"])], remainder=SimpleImputer()), NUMBERS),
                    ("city", words(one_hot()), make_column_selector("city")),
                    ("plan", "drop", ["plan"]),
                ]
            ),
            StandardScaler(),
            LINEAR,
        ),
        "folded",
    ),
    "pandas": (make_pipeline(columns(SIMPLE), LINEAR).set_output(transform="pandas"), "folded"),
    "trees": (make_pipeline(columns("passthrough"), TREES), "table"),
    "scaled trees": (make_pipeline(columns(SIMPLE, ORDINAL), TREES), "table"),
    "clipped trees": (make_pipeline(columns(make_pipeline(SimpleImputer(), MinMaxScaler(clip=True))), TREES), "table"),
    "remainder": (make_pipeline(ColumnTransformer([("w", ORDINAL, WORDS)], remainder="passthrough"), TREES), "table"),
    "forest": (make_pipeline(columns(SIMPLE), RandomForestClassifier(8, random_state=0)), "ready matrix"),
    "bins": (
        make_pipeline(columns(make_pipeline(SimpleImputer(), KBinsDiscretizer(4, encode="ordinal"))), LINEAR),
        "ready matrix",
    ),
    "products": (make_pipeline(columns(make_pipeline(SIMPLE, PolynomialFeatures())), LINEAR), "ready matrix"),
}


def served(model: Any, n_classes: int = 2) -> tuple[Predictor, Predictor, ReferenceProfile]:
    """Returns a predictor that runs the pipeline, and one with a fast path."""
    frame, labels = data(n_classes)
    bundle = make_bundle(model.fit(frame, labels), frame, labels, "model", "1")
    slow, fast = Predictor(bundle.model, bundle.profile), Predictor(bundle.model, bundle.profile)
    fast.build_fast_path(sample_columns(bundle.sample, bundle.profile))
    return slow, fast, bundle.profile


def rows(profile: ReferenceProfile, n_rows: int, far: float = 1e9) -> list[tuple[Any, ...]]:
    """Returns rows as clients may send them, with near, far, missing and unseen values."""
    random = np.random.default_rng(11)
    frame, _ = data()
    made = []
    for _ in range(n_rows):
        source = frame.iloc[int(random.integers(len(frame)))]
        values: list[Any] = [None if pd.isna(source[f.name]) else source[f.name] for f in profile.features]
        at = int(random.integers(len(values)))
        strange: list[Any] = [None, 0.0, -3.5, 1e9, -far, 1e-300] if at < len(profile.numeric) else [None, "Lyon", ""]
        values[at] = strange[int(random.integers(len(strange)))]
        made.append(tuple(values))
    return made


def assert_equal(ours: Prediction, theirs: Prediction) -> None:
    """Asserts that outcomes are equal and numbers are within 1e-12."""
    assert ours.outcome_list() == theirs.outcome_list()
    if theirs.arrays.probabilities is not None:
        np.testing.assert_allclose(ours.arrays.probabilities, theirs.arrays.probabilities, rtol=0, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", READ)
def test_it_says_what_the_pipeline_says(name: str) -> None:
    """Outcomes are equal and probabilities within 1e-12, for one row, some, and many."""
    model, kind = READ[name]
    slow, fast, profile = served(model)
    assert "fast path" in fast.path_description
    assert kind in fast.path_description
    builder = ColumnBuilder(profile)
    many = rows(profile, 300, far=1e6 if kind == "ready matrix" else 1e250)  # forests refuse what is no float32
    expected = slow.predict(RowColumns(builder, many))
    assert_equal(fast.predict(RowColumns(builder, many)), expected)
    for start, stop in ((0, 7), (7, 8), (8, 24), (24, 60), (61, 62)):
        assert_equal(fast.predict(RowColumns(builder, many[start:stop])), expected.part(start, stop))


@pytest.mark.parametrize(
    "model", [make_pipeline(columns(SIMPLE), LINEAR), make_pipeline(columns("passthrough"), TREES)]
)
def test_several_classes(model: Any) -> None:
    """With four classes the predictions are those of the pipeline too."""
    slow, fast, profile = served(model, n_classes=4)
    assert "fast path" in fast.path_description
    builder = ColumnBuilder(profile)
    some = RowColumns(builder, rows(profile, 40))
    assert_equal(fast.predict(some), slow.predict(some))


class Reverser(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Transforms words, as a transformer of a user's own might."""

    def fit(self, x: Any, y: Any = None) -> "Reverser":  # noqa: ARG002
        """Returns itself and learns nothing."""
        self.n_features_in_ = x.shape[1]
        return self

    def transform(self, x: Any) -> Any:
        """Returns the length of each word."""
        return np.array([[len(str(value)) for value in row] for row in np.asarray(x)], dtype=float)


def test_what_it_cannot_read_is_left_to_the_pipeline() -> None:
    """With a user's own transformer of words the pipeline serves, and the description of the path gives the reason."""
    _, _, profile = served(make_pipeline(columns(SIMPLE), LINEAR))
    model = make_pipeline(columns(SIMPLE, Reverser()), LINEAR).fit(*data())
    fast = Predictor(model, profile)
    fast.build_fast_path(RowColumns(ColumnBuilder(profile), rows(profile, 20)))
    assert fast.path_description == "the pipeline, step by step: Reverser takes categories and is not known"


class Drifting(LogisticRegression):  # type: ignore[misc]
    """Predicts other probabilities at each call."""

    def predict_proba(self, x: Any) -> Any:
        """Returns a little more at each call."""
        self.calls_ = getattr(self, "calls_", 0) + 1
        probabilities = super().predict_proba(x)
        return np.clip(probabilities + self.calls_ * 1e-6, 0, 1)


def test_one_that_differs_does_not_serve() -> None:
    """A fast path whose numbers differ from the pipeline's is refused, and the description says by how much."""
    _, _, profile = served(make_pipeline(columns(SIMPLE), LINEAR))
    frame, labels = data()
    fast = Predictor(make_pipeline(columns(SIMPLE), Drifting()).fit(frame, labels), profile)
    fast.build_fast_path(RowColumns(ColumnBuilder(profile), rows(profile, 20)))
    assert fast.path_description.startswith(
        "the pipeline, step by step: its numbers would differ from the pipeline's by "
    )


def test_every_step_has_its_time() -> None:
    """Marks are in order, one per step and one at the end; a folded model gives all its time to the last step."""
    model = Pipeline([("prepare", columns(SIMPLE)), ("select", VarianceThreshold()), ("classify", LINEAR)])
    slow, fast, profile = served(model)
    builder = ColumnBuilder(profile)
    ordinary = tuple(
        None if pd.isna(value) else value for value in data()[0].iloc[0][[f.name for f in profile.features]]
    )
    assert fast.steps == ("prepare", "select", "classify")
    for predictor in (slow, fast):
        marks = predictor.predict(RowColumns(builder, [ordinary])).marks
        assert (len(marks), sorted(marks)) == (4, list(marks))
    assert marks[0] == marks[1] == marks[2] < marks[3]


def test_columns_say_the_same_as_rows() -> None:
    """Rows that came by column get bit for bit the predictions that the same rows get by row."""
    _, fast, profile = served(make_pipeline(columns(SIMPLE), LINEAR))
    builder = ColumnBuilder(profile)
    by_row = RowColumns(builder, rows(profile, 5))
    by_column = ArrayColumns(by_row.arrays)
    assert np.array_equal(fast.predict(by_row).arrays.probabilities, fast.predict(by_column).arrays.probabilities)  # type: ignore[arg-type]


def assert_all_equal(model: Any, frame: pd.DataFrame, labels: Any, sent: list[tuple[Any, ...]]) -> str:
    """Asserts that the fast path agrees with the pipeline on each row alone and on all; returns its description."""
    bundle = make_bundle(model.fit(frame, labels), frame, labels, "model", "1")
    slow, fast = Predictor(bundle.model, bundle.profile), Predictor(bundle.model, bundle.profile)
    fast.build_fast_path(sample_columns(bundle.sample, bundle.profile))
    builder = ColumnBuilder(bundle.profile)
    for part in (sent, *([row] for row in sent)):
        assert_equal(fast.predict(RowColumns(builder, part)), slow.predict(RowColumns(builder, part)))
    return fast.path_description


def test_numbers_that_nothing_fills_in_are_folded() -> None:
    """Without an imputer a linear model is folded for many rows as for one."""
    frame, labels = data()
    frame = frame[["age", "visits"]].fillna(0.0)
    sent = [(float(age), float(visits)) for age in range(20, 60, 2) for visits in range(3)]
    path = assert_all_equal(make_pipeline(StandardScaler(), LINEAR), frame, labels, sent)
    assert path == "the fast path: LogisticRegression folded into one term per input"


@pytest.mark.parametrize("before", [FunctionTransformer(), PolynomialFeatures(include_bias=False)])
def test_a_score_next_to_the_border_is_the_pipelines(before: Any) -> None:
    """If both probabilities round to one half, the outcome is still that of the score's sign."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame(random.normal(size=(300, 2)), columns=["a", "b"])
    labels = pd.Series(np.where(frame["a"] > frame["b"], "yes", "no"))
    sent = [(a, b) for a in (0.0, 1e-300, -1e-300, 1e-18, -1e-18) for b in (0.0, 5e-324, 1e-17)]
    path = assert_all_equal(make_pipeline(before, LogisticRegression(fit_intercept=False)), frame, labels, sent)
    assert path.startswith("the fast path: LogisticRegression ")


def test_trees_fitted_on_single_precision_round_as_the_pipeline_does() -> None:
    """A decimal that single precision stores a little too high or low falls on the pipeline's side of a split."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame(random.integers(0, 1000, (2000, 2)) / np.float32(1000), columns=["a", "b"]).astype("float32")
    labels = pd.Series(np.where(frame["a"] + random.normal(0, 0.1, 2000) > frame["b"], "yes", "no"))
    sent = [(index / 1000, index / 500) for index in range(0, 1000, 3)]
    assert assert_all_equal(clone(TREES), frame, labels, sent).endswith("as a table of leaves")


def test_an_estimator_that_takes_categories_itself_is_left_to_the_pipeline() -> None:
    """If words reach the estimator unencoded, the pipeline serves, and the description of the path gives the reason."""
    frame, labels = data()
    frame = pd.DataFrame({"city": pd.Categorical(frame["city"]), "age": frame["age"]})
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")
    path = assert_all_equal(model, frame, labels, [(40.0, "Bern"), (None, None), (1e9, "Lyon")])
    assert path == "the pipeline, step by step: HistGradientBoostingClassifier takes categories itself"


def squared(frame: pd.DataFrame) -> pd.DataFrame:
    """Squares numbers; integers wrap where the square needs more than 64 bits."""
    return frame**2


def test_integers_that_wrap_are_left_to_the_pipeline() -> None:
    """A function that gives other results for floats than for integers is not called on floats in place of integers."""
    frame, labels = data()
    frame = pd.DataFrame({"visits": frame["visits"].astype(int), "more": frame["visits"].astype(int) * 7 % 11})
    model = make_pipeline(FunctionTransformer(squared), RandomForestClassifier(5, random_state=0))
    path = assert_all_equal(model, frame, labels, [(1, 2), (3_037_000_500, 2), (1, 4_294_967_296)])
    what = "FunctionTransformer takes integers, with which it may compute otherwise than with floats"
    assert path == f"the pipeline, step by step: {what}"
    model = make_pipeline(FunctionTransformer(np.cbrt), LINEAR)
    assert assert_all_equal(model, frame, labels, [(1, 2), (2, 9), (7, 4)]).startswith("the fast path: ")


def test_terms_too_large_for_any_order_are_left_to_the_pipeline() -> None:
    """One row and many are folded below MAX_TERMS, and not above it, where rounding depends on the order of a sum."""
    model = LogisticRegression()
    model.coef_, model.intercept_ = np.array([[1.0, -1.0]]), np.array([0.5])
    folded = FoldedLinear(model, [Numeric(0), Numeric(1)], 2, [])
    below, above = MAX_TERMS / 2 - 1, MAX_TERMS / 2 + 1
    no_codes = np.empty((0, 1), dtype=np.intp)
    assert folded.few([(below, below)]) == [0.5]
    assert folded.few([(above, above)]) is None
    many = folded.many(np.array([[below], [below]]), no_codes)
    assert many is not None
    assert many.tolist() == [[0.5]]
    assert folded.many(np.array([[above], [above]]), no_codes) is None
    model.intercept_ = np.array([MAX_TERMS])
    with pytest.raises(ValueError, match="too large to be added in any order"):
        FoldedLinear(model, [Numeric(0), Numeric(1)], 2, [])


@pytest.mark.parametrize("n_rows", [1, FEW_ROWS + 1])
@pytest.mark.parametrize(("score", "is_left"), [(TIE / 2, True), (-TIE / 2, True), (0.0, True), (2 * TIE, False)])
def test_a_tie_is_left_to_the_pipeline(score: float, n_rows: int, *, is_left: bool) -> None:
    """A score closer to the border between two classes than TIE has no folded prediction, in few rows and in many."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"a": random.normal(size=300)})
    labels = pd.Series(np.where(frame["a"] > 0, "yes", "no"))
    model = LogisticRegression(fit_intercept=False).fit(frame, labels)
    bundle = make_bundle(model, frame, labels, "model", "1")
    path = FastPath([], bundle.model, bundle.profile, FrameBuilder(bundle.profile).build)
    rows_at = [(score / float(model.coef_[0, 0]),)] * n_rows
    assert (path.folded(RowColumns(ColumnBuilder(bundle.profile), rows_at), 0) is None) == is_left


def test_a_tie_among_several_classes_is_left_to_the_pipeline() -> None:
    """If the largest score leads the second by less than TIE, there is no folded prediction."""
    _, fast, _ = served(make_pipeline(columns(SIMPLE), LINEAR), n_classes=4)
    path = fast._fast  # noqa: SLF001  # whole rows rarely have a tie
    assert path is not None
    assert path._many(np.array([[1.0, 1.0 - TIE / 2, 0.0, 0.0]]), 0) is None  # noqa: SLF001
    assert path._many(np.array([[1.0, 1.0 - 2 * TIE, 0.0, 0.0]]), 0) is not None  # noqa: SLF001
