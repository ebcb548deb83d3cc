"""Pipelines of the kinds that teams bring and the data they are fitted on, small and quick."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier, XGBRegressor

N_ROWS = 400


@dataclass(frozen=True)
class Case:
    """Describes one kind of pipeline.

    make: returns it unfitted; columns: those of `table` that it takes; label: the column it learns.
    missing, unseen: features in which the tests send nulls, and words that training did not have.
    imputed: feature -> method, as the author of the pipeline would name it.
    file: the format of the training data; `none` for data that no file can hold, which is bundled from memory.
    """

    make: Callable[[], Any]
    columns: tuple[str, ...]
    label: str = "answer"
    missing: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    imputed: dict[str, str] = field(default_factory=dict)
    file: str = "data.csv"
    as_array: bool = False


def table() -> pd.DataFrame:
    """Returns 400 rows with features of all kinds, then labels of all kinds."""
    random = np.random.default_rng(11)
    data = pd.DataFrame(
        {
            "age": random.normal(40, 12, N_ROWS),
            "income": random.exponential(3000, N_ROWS),
            "rooms": random.integers(1, 9, N_ROWS),
            "is_new": random.random(N_ROWS) < 0.4,
            "city": random.choice(["Bern", "Oslo", "Rome"], N_ROWS, p=[0.5, 0.3, 0.2]),
            "plan": random.choice(["free", "paid"], N_ROWS),
            "code": random.choice([10, 20, 30], N_ROWS),
            "grade": random.choice([0.5, 1.5, 2.5], N_ROWS),
            "constant": 1,
            "nothing": np.nan,
        }
    )
    data["holes"] = data["age"].where(random.random(N_ROWS) > 0.2)
    data["gaps"] = data["income"].where(random.random(N_ROWS) > 0.1)
    data["town"] = data["city"].where(random.random(N_ROWS) > 0.1)
    data["asked"] = data["is_new"].astype(object).where(random.random(N_ROWS) > 0.1, None)
    data["single"] = data["income"].astype(np.float32)
    data["levels"] = pd.Categorical(data["city"], categories=["Rome", "Oslo", "Bern", "Unused"])
    data["noted"] = pd.Series(data["town"].astype(object).where(data["town"].notna(), None), dtype=object)
    score = data["age"] / 12 + data["rooms"] + (data["city"] == "Rome") + random.normal(0, 1, N_ROWS)
    data["answer"] = np.where(score > score.median(), "yes", "no")
    data["digit"] = pd.qcut(score, 3, labels=False)
    data["truth"] = score > score.median()
    data["class"] = pd.qcut(score, 3, labels=["low", "mid", "top"]).astype(str)
    data["price"] = score * 1000 - 5000
    return data


def many() -> pd.DataFrame:
    """Returns `table` with a feature of 5,000 values, and enough rows to hold them."""
    random = np.random.default_rng(12)
    data = pd.concat([table()] * 15, ignore_index=True)
    names = [f"v{index:04}" for index in range(5000)]
    data["shop"] = [*names, *random.choice(names[:300], len(data) - 5000)]
    return data


def squared(frame: pd.DataFrame) -> pd.DataFrame:
    """Squares numbers, as a function of the user's own might."""
    return frame**2


def _numbers() -> Any:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def _words() -> Any:
    return make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )


def _mixed(model: Any, numbers: tuple[str, ...], words: tuple[str, ...]) -> Any:
    return make_pipeline(make_column_transformer((_numbers(), list(numbers)), (_words(), list(words))), model)


def _nested() -> Any:
    inner = ColumnTransformer([("holes", SimpleImputer(), ["holes"])], remainder="passthrough")
    numbers = Pipeline([("inner", inner), ("scale", StandardScaler())])
    words = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("words", words, make_column_selector(dtype_exclude=["number", "bool"])),
        ],
        remainder="passthrough",
    )
    return Pipeline([("columns", columns), ("pick", SelectKBest(k=5)), ("model", LogisticRegression())])


def _union() -> Any:
    union = FeatureUnion([("filled", SimpleImputer(strategy="constant", fill_value=0)), ("was", MissingIndicator())])
    return make_pipeline(union, LogisticRegression(max_iter=2000))


def _ordinal_then_imputed(model: Any) -> Any:
    """Returns a pipeline that encodes words first; missing values stay missing until the imputer."""
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    words = make_pipeline(ordinal, SimpleImputer(strategy="most_frequent"))
    return make_pipeline(make_column_transformer((words, ["town"]), ("passthrough", ["rooms"])), model)


_HOLES = {"holes": "median"}

CASES: dict[str, Case] = {
    "logistic": Case(
        lambda: _mixed(LogisticRegression(), ("holes", "income"), ("town", "plan")),
        ("town", "holes", "plan", "income"),
        missing=("holes", "income", "town", "plan"),
        unseen=("town", "plan"),
        imputed={"holes": "median", "income": "median", "town": "most_frequent", "plan": "most_frequent"},
    ),
    "nested": Case(
        _nested,
        ("is_new", "city", "holes", "age", "rooms"),
        missing=("holes",),
        unseen=("city",),
        imputed={"holes": "mean"},
        file="data.parquet",
    ),
    "union and indicator": Case(
        _union, ("holes", "gaps"), missing=("holes", "gaps"), imputed={"holes": "constant", "gaps": "constant"}
    ),
    "multiclass words": Case(
        lambda: _mixed(LogisticRegression(max_iter=500), ("age",), ("city",)),
        ("age", "city"),
        "class",
        missing=("age",),
        imputed={"age": "median", "city": "most_frequent"},
    ),
    "integer labels": Case(lambda: RandomForestClassifier(5, random_state=0), ("age", "rooms"), "digit"),
    "boolean labels": Case(LogisticRegression, ("rooms", "is_new"), "truth"),
    "regression": Case(
        lambda: _mixed(Ridge(), ("holes", "rooms"), ("town",)),
        ("holes", "rooms", "town"),
        "price",
        missing=("holes", "rooms", "town"),
        unseen=("town",),
        imputed={"holes": "median", "rooms": "median", "town": "most_frequent"},
    ),
    "transformed target": Case(
        lambda: TransformedTargetRegressor(
            _mixed(LinearRegression(), ("holes",), ("city",)), func=np.cbrt, inverse_func=_cubed
        ),
        ("holes", "city"),
        "price",
        missing=("holes",),
        unseen=("city",),
        imputed={"holes": "median", "city": "most_frequent"},
    ),
    "grid search": Case(
        lambda: GridSearchCV(
            _mixed(LogisticRegression(), ("holes",), ("city",)), {"logisticregression__C": [0.1, 1.0]}, cv=2
        ),
        ("holes", "city"),
        missing=("holes",),
        unseen=("city",),
        imputed={"holes": "median", "city": "most_frequent"},
    ),
    "random search": Case(
        lambda: RandomizedSearchCV(make_pipeline(KNNImputer(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, n_iter=2, cv=2),
        ("holes", "rooms"),
        "price",
        missing=("holes", "rooms"),
        imputed={"holes": "knn", "rooms": "knn"},
    ),
    "iterative imputer": Case(
        lambda: make_pipeline(IterativeImputer(max_iter=2, random_state=0), LogisticRegression(max_iter=1000)),
        ("holes", "gaps", "rooms"),
        missing=("holes", "gaps"),
        imputed={"holes": "iterative", "gaps": "iterative", "rooms": "iterative"},
    ),
    "scaled, then imputed": Case(
        lambda: make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True), LogisticRegression()),
        ("holes", "age"),
        missing=("holes",),
        imputed={"holes": "mean", "age": "mean"},
    ),
    "ordinal, then imputed": Case(
        lambda: _ordinal_then_imputed(RandomForestClassifier(5, random_state=0)),
        ("town", "rooms"),
        missing=("town",),
        unseen=("town",),
        imputed={"town": "most_frequent"},
    ),
    "target encoder": Case(
        lambda: make_pipeline(make_column_transformer((TargetEncoder(), ["city"]), remainder="passthrough"), Ridge()),
        ("city", "age"),
        "price",
        missing=("city",),
        unseen=("city",),
    ),
    "encoder that refuses": Case(
        lambda: make_pipeline(
            make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough"), LogisticRegression()
        ),
        ("plan", "rooms"),
    ),
    "categories given": Case(
        lambda: make_pipeline(OneHotEncoder(categories=[["free", "paid", "gold"]]), LogisticRegression()), ("plan",)
    ),
    "integers and floats as categories": Case(
        lambda: make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        ("code", "grade", "plan"),
        missing=("code", "grade"),
    ),
    "booleans with gaps": Case(
        lambda: make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        ("asked", "plan"),
        missing=("asked",),
        file="data.parquet",
    ),
    "None is a category": Case(
        lambda: make_pipeline(OneHotEncoder(), LogisticRegression()), ("noted",), missing=("noted",), file="none"
    ),
    "category dtype": Case(
        lambda: make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        ("levels", "plan"),
        unseen=("levels",),
        file="data.parquet",
    ),
    "boosting takes all": Case(
        lambda: HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
        ("levels", "holes", "rooms", "is_new"),
        "class",
        missing=("levels", "holes", "rooms"),
        unseen=("levels",),
        file="data.parquet",
    ),
    "boosting from words": Case(
        lambda: HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype"),
        ("levels", "age"),
        "price",
        missing=("levels", "age"),
        unseen=("levels",),
    ),
    "function": Case(
        lambda: make_pipeline(
            FunctionTransformer(np.log1p, feature_names_out="one-to-one"), SimpleImputer(), LogisticRegression()
        ),
        ("gaps", "rooms"),
        missing=("gaps",),
        imputed={"gaps": "mean", "rooms": "mean"},
    ),
    "function of one's own": Case(
        lambda: make_pipeline(FunctionTransformer(squared), LogisticRegression(max_iter=1000)), ("rooms", "is_new")
    ),
    "calibrated": Case(
        lambda: CalibratedClassifierCV(_mixed(LinearSVC(), ("holes",), ("city",)), cv=2),
        ("holes", "city"),
        missing=("holes",),
        unseen=("city",),
        imputed={"holes": "median", "city": "most_frequent"},
    ),
    "vote": Case(
        lambda: VotingClassifier(
            [
                ("a", _mixed(LogisticRegression(), ("holes",), ("city",))),
                ("b", _mixed(RandomForestClassifier(3, random_state=0), ("holes",), ("city",))),
            ],
            voting="soft",
        ),
        ("holes", "city"),
        "class",
        missing=("holes",),
        unseen=("city",),
        imputed={"holes": "median", "city": "most_frequent"},
    ),
    "stack": Case(
        lambda: StackingClassifier([("a", _mixed(LogisticRegression(), ("holes",), ("city",)))], cv=2),
        ("holes", "city"),
        missing=("holes",),
        imputed={"holes": "median", "city": "most_frequent"},
    ),
    "no probabilities": Case(lambda: make_pipeline(StandardScaler(), RidgeClassifier()), ("age", "rooms"), "class"),
    "hard vote": Case(
        lambda: VotingClassifier([("a", LogisticRegression(max_iter=1000)), ("b", LinearSVC())]), ("age", "rooms")
    ),
    "xgboost": Case(
        lambda: XGBClassifier(n_estimators=5, n_jobs=1),
        ("holes", "rooms", "is_new"),
        "digit",
        missing=("holes", "rooms"),
    ),
    "xgboost on categories": Case(
        lambda: XGBRegressor(n_estimators=5, n_jobs=1, enable_categorical=True),
        ("levels", "holes"),
        "price",
        missing=("holes", "levels"),
        file="data.parquet",
    ),
    "lightgbm on categories": Case(
        lambda: LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1),
        ("holes", "levels", "rooms"),
        missing=("holes", "levels"),
        unseen=("levels",),
        file="data.parquet",
    ),
    "lightgbm in a pipeline": Case(
        lambda: _mixed(LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1), ("holes",), ("city",)).set_output(
            transform="pandas"
        ),
        ("holes", "city"),
        "price",
        missing=("holes",),
        unseen=("city",),
        imputed={"holes": "median", "city": "most_frequent"},
    ),
    "one value, and none": Case(
        lambda: _mixed(LogisticRegression(), ("constant", "nothing", "age"), ("city",)),
        ("constant", "nothing", "age", "city"),
        missing=("nothing", "constant"),
        imputed={"constant": "median", "age": "median", "city": "most_frequent"},
    ),
    "dropped columns": Case(
        lambda: make_pipeline(ColumnTransformer([("fill", SimpleImputer(), [1])]), LogisticRegression()),
        ("income", "holes", "city"),
        missing=("holes",),
        imputed={"holes": "mean"},
    ),
    "bag": Case(
        lambda: BaggingClassifier(
            make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
            n_estimators=3,
            max_features=2,
            random_state=0,
        ),
        ("holes", "rooms", "gaps"),
        "class",
        missing=("holes", "gaps"),
        imputed={"holes": "mean", "rooms": "mean", "gaps": "mean"},
    ),
    "5,000 categories": Case(
        lambda: make_pipeline(
            make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["shop"]), remainder="passthrough"),
            LogisticRegression(),
        ),
        ("shop", "rooms"),
        unseen=("shop",),
    ),
    "single precision": Case(
        lambda: make_pipeline(StandardScaler(), LogisticRegression()), ("single",), file="data.parquet"
    ),
    "array": Case(
        lambda: make_pipeline(SimpleImputer(), LogisticRegression()),
        ("holes", "rooms"),
        missing=("holes", "rooms"),
        imputed={"holes": "mean", "rooms": "mean"},
        as_array=True,
    ),
}


def _cubed(values: Any) -> Any:
    return values**3
