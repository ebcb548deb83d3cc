"""Pipelines of all kinds, bundled from files as the command does, served over HTTP, compared, and counted."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from sightline_service.bundles.build import Source, bundle_files
from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.profiling import make_bundle
from sightline_telemetry.model.profile import MAX_CATEGORIES, ReferenceProfile
from tests.service.running import running
from tests.service.zoo import CASES, Case, many, table

# One of each way through the service runs in `make test-fast`; all of them run in `make test`.
FAST = {"logistic", "regression", "multiclass words", "boosting takes all", "no probabilities", "array"}

N_SENT = 60
STRANGER = "Atlantis"


@dataclass(frozen=True)
class Served:
    """Holds a case, its fitted model, its training data, the rows sent, the answers, and the scrape after them."""

    case: Case
    model: Any
    data: pd.DataFrame
    sent: pd.DataFrame
    answer: list[dict[str, Any]]
    profile: ReferenceProfile
    samples: dict[str, dict[frozenset[tuple[str, str]], float]]

    def counted(self, metric: str, *labels: str) -> dict[Any, int]:
        """Returns the samples of a metric above 0, by the values of some labels."""
        by_label = {
            tuple(dict(key)[label] for label in labels): int(value)
            for key, value in self.samples[metric].items()
            if value
        }
        return {key if len(key) > 1 else key[0]: value for key, value in by_label.items()}


def _bundled(case: Case, model: Any, data: pd.DataFrame, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Bundles the case as the command does; returns the folder, and the types that the command warns of."""
    out = folder / "bundle"
    if case.file == "none":
        save_bundle(make_bundle(model, data[list(case.columns)], data[case.label], "zoo", "1"), out)
        return out, ()
    kept = data[[*case.columns, case.label]].sample(frac=1, axis=1, random_state=1)
    if case.as_array:
        kept = data[[*case.columns, case.label]]
    if case.file.endswith("parquet"):
        kept.to_parquet(folder / case.file)
    else:
        kept.to_csv(folder / case.file, index=False)
    joblib.dump(model, folder / "model.joblib")
    source = Source(folder / "model.joblib", folder / case.file, case.label, None, "zoo", "1", 86_400, is_trusted=True)
    warned: list[str] = []
    bundle_files(source, out, lambda _: None, warned.append)
    setting = "SIGHTLINE_TRUSTED_TYPES="
    return out, tuple(name for line in warned if setting in line for name in line.partition(setting)[2].split(","))


def _sent(case: Case, data: pd.DataFrame) -> pd.DataFrame:
    """Returns rows to send, drawn from the training data, with some missing values and some unknown words."""
    random = np.random.default_rng(5)
    sent = data[list(case.columns)].sample(N_SENT, random_state=2).reset_index(drop=True)
    for name in case.unseen:
        words = sent[name].astype(object).where(random.random(N_SENT) > 0.2, STRANGER)
        is_levelled = isinstance(sent[name].dtype, pd.CategoricalDtype)
        levels = [*sent[name].cat.categories, STRANGER] if is_levelled else []
        sent[name] = pd.Categorical(words, categories=levels) if is_levelled else words.astype(sent[name].dtype)
    for name in case.missing:
        is_kept = random.random(N_SENT) > 0.2
        if sent[name].dtype == object:
            gap = None if any(value is None for value in data[name]) else np.nan  # as in training
            sent[name] = pd.Series([v if k else gap for v, k in zip(sent[name], is_kept, strict=True)], dtype=object)
        else:
            sent[name] = sent[name].where(is_kept)
    return sent


def _rows(sent: pd.DataFrame) -> list[dict[str, Any]]:
    objects = {str(name): sent[name].astype(object).tolist() for name in sent}
    columns = [[None if pd.isna(value) else value for value in values] for values in objects.values()]
    return [dict(zip(objects, row, strict=True)) for row in zip(*columns, strict=True)]


METRICS = (
    "ml_predictions_total",
    "ml_feature_missing_total",
    "ml_feature_imputed_total",
    "ml_feature_categories_total",
    "ml_feature_value_bucket",
)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_any_pipeline_is_served_and_counted(name: str, tmp_path: Path) -> None:
    """A pipeline bundled from files answers as its estimator, is counted as pandas counts, and its example works."""
    case = CASES[name]
    data = many() if "shop" in case.columns else table()
    features = data[list(case.columns)]
    model = case.make().fit(features.to_numpy() if case.as_array else features, data[case.label])
    folder, types = _bundled(case, model, data, tmp_path)
    sent = _sent(case, data)
    with running(folder, trusted_types=types, random_endpoint=False) as service:
        answer = service.predict(_rows(sent)).raise_for_status().json()["predictions"]
        samples = {metric: service.samples(metric) for metric in METRICS}
        schema = service.client.get("/openapi.json").json()["components"]["schemas"]["PredictIn"]
        assert service.client.post("/predict/model", json=schema["example"]).status_code == 200
        profile = service.parts.model.bundle.profile
    served = Served(case, model, data, sent, answer, profile, samples)
    _check_answers(served)
    _check_outcomes(served)
    _check_missing(served)
    _check_categories(served)
    _check_bins(served)


def _check_answers(served: Served) -> None:
    """Asserts that outcomes are equal, that numbers are within 1e-12, and that the answer has no other fields."""
    x = served.sent.to_numpy() if served.case.as_array else served.sent
    predicted = served.model.predict(x)
    if served.case.label == "price":
        assert {key for row in served.answer for key in row} == {"prediction_id", "value"}
        np.testing.assert_allclose([row["value"] for row in served.answer], predicted.ravel(), rtol=1e-12, atol=1e-12)
        return
    assert [row["outcome"] for row in served.answer] == [str(label) for label in predicted.tolist()]
    if not hasattr(served.model, "predict_proba"):
        assert {key for row in served.answer for key in row} == {"prediction_id", "outcome"}
        return
    classes = [str(label) for label in served.model.classes_.tolist()]
    ours = [[row["probabilities"][name] for name in classes] for row in served.answer]
    np.testing.assert_allclose(ours, served.model.predict_proba(x), rtol=0, atol=1e-12)


def _check_outcomes(served: Served) -> None:
    if served.case.label == "price":
        assert sum(served.samples["ml_predictions_total"].values()) == N_SENT
    else:
        outcomes = Counter(row["outcome"] for row in served.answer)
        assert served.counted("ml_predictions_total", "outcome") == outcomes


def _check_missing(served: Served) -> None:
    missing = served.sent.isna().sum()
    assert served.counted("ml_feature_missing_total", "feature") == missing[missing > 0].to_dict()
    filled = {(name, how): n for name, how in served.case.imputed.items() if (n := int(missing[name]))}
    assert served.counted("ml_feature_imputed_total", "feature", "method") == filled
    methods = {feature.name: feature.imputed_by for feature in served.profile.features if feature.imputed_by}
    assert methods == served.case.imputed


def _check_categories(served: Served) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    for feature in served.profile.categorical:
        known = served.data[feature.name].dropna().astype(object).map(str).value_counts()
        named = set(known.index) & set(feature.categories)
        assert len(named) == min(len(known), MAX_CATEGORIES)
        assert known[list(named)].min() >= known.drop(list(named)).max() or len(named) == len(known)
        for value in served.sent[feature.name].astype(object).tolist():
            word = "__missing__" if pd.isna(value) else str(int(value) if feature.dtype == "int64" else value)
            if word != "__missing__" and word not in named:
                word = "__other__" if word in known.index else "__unseen__"
            expected[feature.name, word] += 1
    assert served.counted("ml_feature_categories_total", "feature", "category") == expected


def _check_bins(served: Served) -> None:
    samples = {
        (labels["feature"], float(labels["le"])): value
        for key, value in served.samples["ml_feature_value_bucket"].items()
        for labels in [dict(key)]
    }
    for feature in served.profile.numeric:
        values = served.sent[feature.name].astype(float).to_numpy()
        for edge in (*feature.bounds, np.inf):
            assert samples[feature.name, edge] == (values <= edge).sum()
