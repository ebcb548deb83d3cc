"""Pipelines of all shapes become bundles that answer over HTTP what the estimator answers, or are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sightline_service.bundles.bundle import MODEL, save_bundle
from sightline_service.bundles.profiling import make_bundle, profile_training
from sightline_service.errors import BundleError
from sightline_telemetry.model.dataframes import profile_frame
from tests.service.running import running

N_ROWS = 300
RANDOM = np.random.default_rng(0)
BASE = pd.DataFrame({"a": RANDOM.normal(size=N_ROWS), "b": RANDOM.exponential(size=N_ROWS)})
YES_NO = pd.Series(np.where(BASE["a"] > 0, "yes", "no"))

CASES: dict[str, tuple[Any, pd.DataFrame, Any]] = {
    "no pipeline": (LogisticRegression(), BASE, YES_NO),
    "one feature": (LogisticRegression(), BASE[["a"]], YES_NO),
    "odd names": (LogisticRegression(), BASE.set_axis(["größe.日本 [0]", "__proto__"], axis=1), YES_NO),
    "odd step": (Pipeline([('"pré" {x}', StandardScaler()), ("m", RandomForestClassifier(5))]), BASE, YES_NO),
}


def _json_rows(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a client would write them: JSON's own booleans, integers and null."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()} for row in data.to_dict("records")
    ]


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_answers_what_the_estimator_answers(case: str, tmp_path: Path) -> None:
    """Served from its bundle, a model of any of these shapes gives its own outcomes, and its example works."""
    model, data, labels = CASES[case]
    model.fit(data, labels)
    save_bundle(make_bundle(model, data, labels, "odd", "1"), tmp_path / "bundle")
    trusted = tuple(skops.io.get_untrusted_types(file=tmp_path / "bundle" / MODEL))
    with running(tmp_path / "bundle", trusted_types=trusted) as service:
        schema = service.client.get("/openapi.json").json()["components"]["schemas"]["PredictIn"]
        assert service.client.post("/predict/model", json=schema["example"]).status_code == 200
        answer = service.predict(_json_rows(data.head(50))).raise_for_status().json()
    assert [each["outcome"] for each in answer["predictions"]] == [str(label) for label in model.predict(data.head(50))]


REFUSED: dict[str, tuple[Any, pd.DataFrame, Any, str]] = {
    "a clusterer": (KMeans(2), BASE, YES_NO, "KMeans is neither a classifier nor a regressor"),
    "words for a regressor": (Ridge(), BASE, BASE["b"], "Ridge is a regressor, and the target has 'yes'"),
    "not fitted": (LogisticRegression(), BASE, None, "LogisticRegression is not fitted"),
    "a quote in a name": (LogisticRegression(), BASE.set_axis(['a"b', "c"], axis=1), YES_NO, "rename the column"),
    "no names": (LogisticRegression(), pd.DataFrame(BASE.to_numpy()), YES_NO, "the column 0 has no name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused(case: str) -> None:
    """A model that the service could not answer for is refused with a sentence that says why."""
    model, data, labels, sentence = REFUSED[case]
    if labels is not None:
        model.fit(data, labels)
    with pytest.raises(BundleError, match=sentence):
        make_bundle(model, data, YES_NO, "odd", "1")


def test_the_profile_is_the_bundles_own(
    small_model: Pipeline, small_data: tuple[pd.DataFrame, "pd.Series[str]"]
) -> None:
    """A profile made of a frame and its predictions equals the one that a bundle is made with."""
    data, labels = small_data
    made = profile_frame(
        data,
        labels,
        small_model.predict(data),
        small_model.predict_proba(data),
        imputed_by={"age": "mean", "income": "mean", "city": "constant"},
    )
    bundled = profile_training(small_model, data, labels)
    assert made.numeric == bundled.numeric
    assert (made.predicted, made.labels, made.scores) == (bundled.predicted, bundled.labels, bundled.scores)
    for ours, theirs in zip(made.categorical, bundled.categorical, strict=True):
        assert (ours.series_values, ours.series_counts, ours.singletons) == (
            theirs.series_values,
            theirs.series_counts,
            theirs.singletons,
        )
