"""`sightline bundle` on bad input: one sentence that says what to do, and nothing half-written."""

import pickle
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sightline_service.bundles.build import Source, bundle_files
from sightline_service.bundles.bundle import digest_of, load_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_service.errors import BundleError
from tests.service.zoo import squared, table

COLUMNS = ["age", "plan"]


@pytest.fixture(scope="module", name="model")
def _model() -> Pipeline:
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), ("passthrough", ["age"]))
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(table()[COLUMNS], table()["answer"])


@pytest.fixture(name="source")
def _source(model: Pipeline, tmp_path: Path) -> Source:
    """Files that make a bundle as they stand."""
    skops.io.dump(model, tmp_path / "model.skops")
    data = table()[[*COLUMNS, "answer"]].assign(when=pd.date_range("2025-01-01", periods=400, freq="h"))
    data.to_csv(tmp_path / "data.csv", index=False)
    return Source(tmp_path / "model.skops", tmp_path / "data.csv", "answer", None, "m", "1", 86_400)


def refused(source: Source) -> str:
    """What a bundle is refused with; nothing is left of it."""
    folder = source.data.parent
    before = sorted(folder.iterdir())
    with pytest.raises(BundleError) as caught:
        bundle_files(source, folder / "out", print, print)
    assert sorted(folder.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(source: Source, change: Callable[[str], str]) -> None:
    """Changes the text of the data."""
    source.data.write_text(change(source.data.read_text()))


def test_what_is_right_is_bundled(source: Source) -> None:
    """The files as they stand make a bundle that can be loaded."""
    messages: list[str] = []
    bundle_files(source, source.data.parent / "out", messages.append, messages.append)
    assert load_bundle(source.data.parent / "out").name == "m"
    assert messages[1].startswith("profiling 400 rows")
    assert messages[2].startswith("m 1: binary on 1 numeric and 1 categorical features, 400 rows -> ")
    assert messages[3] == "columns that the model does not use: when"
    assert messages[4].startswith(f"digest: {digest_of(source.data.parent / 'out')}; ")
    assert len(messages) == 5


BAD_DATA: dict[str, tuple[Callable[[str], str], str]] = {
    "a short line": (
        lambda t: t.replace("\n", "\n1,free\n", 3).replace("1,free\n", "", 2),
        "line 4 has 2 values where the header has 4",
    ),
    "a long line": (lambda t: t + "1,free,yes,2025-01-01,9\n", "line 402 has 5 values where the header has 4"),
    "an open quote": (lambda t: t + '1,"free,yes,2025-01-01\n', "is broken: line 402: unexpected end of data"),
    "a column twice": (lambda t: t.replace("when", "age", 1), "has the column 'age' twice"),
    "a lacking column": (lambda t: t.replace("plan", "plans", 1), "lacks columns that the model was fitted on: 'plan'"),
    "no target": (
        lambda t: t.replace("answer", "reply", 1),
        "has no column 'answer'; it has 'age', 'plan', 'reply', 'when'",
    ),
    "a constant target": (lambda t: t.replace(",no,", ",yes,"), "the target has one value only, 'yes'"),
    "a target with gaps": (lambda t: t.replace(",no,", ",,", 3), "the target is missing in 3 rows"),
    "an unknown label": (
        lambda t: t.replace(",no,", ",never,", 1),
        "the target has the value 'never', and the model knows the classes no, yes",
    ),
    "a category the model does not know": (
        lambda t: t.replace(",free,", ",gold,", 1),
        "the step 'columntransformer' (ColumnTransformer) refuses the training data: Found unknown categories",
    ),
    "nothing": (lambda _: "", "is empty"),
    "a header alone": (lambda t: t.splitlines()[0], "has no rows"),
    "a word for a number": (
        lambda t: t.replace("\n", "\nold,free,yes,2025-01-01\n", 1),
        "could not convert string to float: 'old'",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused(source: Source, case: str) -> None:
    """Data that is broken, or does not fit the model, is refused with the place."""
    change, sentence = BAD_DATA[case]
    rewrite(source, change)
    assert sentence in refused(source)


def test_bytes_that_are_no_text_are_refused(source: Source) -> None:
    """A CSV in another encoding is refused."""
    source.data.write_bytes(source.data.read_bytes() + b"\xff\n")
    assert "is not UTF-8" in refused(source)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": Path("nowhere.skops")}, "there is no model at nowhere.skops"),
        ({"data": Path(__file__).with_name("nowhere.csv")}, "there is no data at"),
        ({"target": "age"}, "the model was fitted on the column 'age' itself"),
        ({"time": "hour"}, "has no column 'hour'"),
        ({"time": "age"}, "the column 'age' holds numbers, not times"),
        ({"time": "plan"}, "the column 'plan' is not of times as ISO 8601 writes them"),
        ({"name": ""}, "--name '' is empty"),
        ({"version": "1/2"}, "--version '1/2' is empty or has a slash"),
    ],
)
def test_bad_arguments_are_refused(source: Source, changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """A file, a column or a name that cannot be is refused with what there is."""
    with pytest.raises(BundleError, match=sentence):
        bundle_files(replace(source, **changes), tmp_path / "out", print, print)
    assert not (tmp_path / "out").exists()


class Counting(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that gives another value each time."""

    def fit(self, data: Any, labels: Any = None) -> "Counting":  # noqa: ARG002
        """Remembers how many columns there are."""
        self.n_features_in_ = data.shape[1]
        self.seen_ = 0
        return self

    def transform(self, data: Any) -> Any:
        """Adds how often it was asked."""
        self.seen_ += 1
        return np.asarray(data, dtype=float) + self.seen_


def centred(data: Any) -> Any:
    """A function that looks at the other rows."""
    return data - data.mean()


def _fitted(*steps: Any) -> Any:
    return make_pipeline(*steps).fit(table()[["age", "rooms"]], table()["answer"])


BAD_MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "not fitted": (LogisticRegression, "LogisticRegression is not fitted"),
    "a step that is not fitted": (
        lambda: Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]),
        "the step 'model' (LogisticRegression) is not fitted (This StandardScaler instance is not fitted yet)",
    ),
    "no estimator": (lambda: {"a": 1}, "dict is neither a classifier nor a regressor"),
    "two outputs": (
        lambda: MultiOutputRegressor(Ridge()).fit(table()[["age", "rooms"]], table()[["price", "income"]]),
        "MultiOutputRegressor predicts (2,) outputs per row; one is served",
    ),
    "a step that depends on other rows": (
        lambda: _fitted(FunctionTransformer(centred), LogisticRegression(max_iter=1000)),
        "a row by itself is predicted otherwise than the same row among others; the step 'functiontransformer'",
    ),
    "a step that changes its mind": (
        lambda: _fitted(Counting(), LogisticRegression(max_iter=1000)),
        "the step 'counting' (Counting) makes other columns of the same rows",
    ),
    "a lambda": (
        lambda: _fitted(FunctionTransformer(lambda x: x), LogisticRegression(max_iter=1000)),
        "the step 'functiontransformer' (FunctionTransformer): it holds a lambda",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_models_that_cannot_be_served_are_refused(case: str) -> None:
    """A model is refused with the step and the reason."""
    make, sentence = BAD_MODELS[case]
    data = table()
    labels = data["price"] if case == "two outputs" else data["answer"]
    with pytest.raises(BundleError) as caught:
        make_bundle(make(), data[["age", "rooms"]], labels, "m", "1")
    assert sentence in str(caught.value)


def test_a_pickle_needs_trust(source: Source, model: Pipeline) -> None:
    """Joblib and pickle are read with --trust only, and then it is said loudly."""
    path = source.data.with_name("model.joblib")
    joblib.dump(model, path)
    assert "model.joblib is a pickle, and loading it runs whatever code is in it" in refused(
        replace(source, model=path)
    )
    warned: list[str] = []
    bundle_files(replace(source, model=path, is_trusted=True), source.data.parent / "out", print, warned.append)
    assert warned == [f"--trust: loading {path} runs whatever code is in it"]


@pytest.mark.parametrize("ending", ["pkl", "skops"])
def test_another_scikit_learn_is_refused(
    source: Source, model: Pipeline, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that another scikit-learn fitted is refused with both versions."""
    path = source.data.with_name(f"old.{ending}")
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.2.3")
        path.write_bytes(pickle.dumps(model) if ending == "pkl" else skops.io.dumps(model))
    assert "was fitted with scikit-learn 1.2.3, and " in refused(replace(source, model=path, is_trusted=True))


def test_what_is_no_model_is_refused(source: Source) -> None:
    """A file that is something else is refused, whatever its ending says."""
    for name in ("a.skops", "a.pkl", "a.txt"):
        path = source.data.with_name(name)
        path.write_text("nothing of the kind")
        sentence = refused(replace(source, model=path, is_trusted=True))
        assert ("models are read from" if name == "a.txt" else "cannot be read") in sentence


def test_code_that_is_elsewhere_is_named(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that needs a module, or a function of a script, that is not here says what to do."""
    own = types.ModuleType("own_module")
    exec("def double(x):\n    return x * 2", own.__dict__)  # noqa: S102
    own.double.__module__ = "own_module"
    path = source.data.with_name("own.pkl")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "own_module", own)
        path.write_bytes(pickle.dumps(_fitted(FunctionTransformer(own.double), LogisticRegression(max_iter=1000))))
    trusting = replace(source, model=path, is_trusted=True)
    assert "it needs the module 'own_module', which is not here" in refused(trusting)
    monkeypatch.setitem(sys.modules, "own_module", types.ModuleType("own_module"))
    assert "it needs 'double' of the module 'own_module', which has no such thing; move it" in refused(trusting)


def test_own_types_are_told_with_the_setting(source: Source) -> None:
    """A type that skops does not trust is refused with the setting; with it, or with --trust, it is bundled."""
    path = source.data.with_name("own.skops")
    data = table()[["age", "rooms", "answer"]]
    data.to_csv(source.data, index=False)
    skops.io.dump(_fitted(FunctionTransformer(squared), LogisticRegression(max_iter=1000)), path)
    own = "tests.service.zoo.squared"
    assert f"SIGHTLINE_TRUSTED_TYPES={own}" in refused(replace(source, model=path))
    warned: list[str] = []
    trusting = replace(source, model=path, trusted_types=(own,))
    bundle_files(trusting, source.data.parent / "out", print, warned.append)
    assert f"SIGHTLINE_TRUSTED_TYPES={own}" in warned[0]
    assert "the code of tests.service.zoo is not in the bundle" in warned[1]


def test_a_folder_in_use_is_left_alone(source: Source) -> None:
    """A folder that holds something else, or is a file, is refused before anything is read."""
    for out in (source.data.parent, source.data):
        with pytest.raises(BundleError, match="name another folder"):
            bundle_files(source, out, print, print)
