"""The demo's pipeline: its steps, its quality, and that it can be written and read without pickle."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from sightline_service.demo import training as training_module
from sightline_service.demo.flights import CATEGORICAL, FEATURES, LATE, TARGET
from sightline_service.demo.model import make_pipeline
from sightline_service.demo.training import fit_flights

SKOPS_TYPES = ["numpy.dtype", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
N_ROWS = 2_000


def _features(flights: pd.DataFrame) -> pd.DataFrame:
    return flights[list(FEATURES)]


def test_the_steps_have_the_names_that_metrics_show() -> None:
    """The two top-level steps are `preprocess` and `classify`."""
    assert list(make_pipeline().named_steps) == ["preprocess", "classify"]


def test_late_flights_of_july_are_recognised(fitted: Pipeline, replayed: pd.DataFrame) -> None:
    """On flights of July the AUC is above .68, even after training on a sample."""
    july = replayed[replayed["scheduled"].dt.month == 7]
    score = fitted.predict_proba(_features(july))[:, list(fitted.classes_).index(LATE)]
    assert roc_auc_score(july[TARGET] == LATE, score) > 0.68


def test_every_boosting_round_is_run(fitted: Pipeline) -> None:
    """All boosting rounds are run: early stopping, which would set a random part of the data aside, is off."""
    assert fitted["classify"].n_iter_ == fitted["classify"].max_iter


def test_a_second_fit_is_the_same(sample: pd.DataFrame, replayed: pd.DataFrame) -> None:
    """Two fits on the same flights predict the same to the last bit."""
    few, rows = sample.head(N_ROWS), _features(replayed.head(N_ROWS))
    first, second = (make_pipeline().fit(_features(few), few[TARGET]) for _ in range(2))
    assert np.array_equal(first.predict_proba(rows), second.predict_proba(rows))


@pytest.mark.parametrize("dest", ["ANC", "ILM", "LEX", "SBN", "no such place"])
def test_an_unseen_destination_sets_no_column(fitted: Pipeline, replayed: pd.DataFrame, dest: str) -> None:
    """A destination that training has not seen sets none of the columns of known ones."""
    row = _features(replayed.head(1)).assign(dest=dest)
    columns = fitted["preprocess"].get_feature_names_out()
    encoded = pd.Series(fitted["preprocess"].transform(row)[0], index=columns)
    assert encoded[encoded.index.str.startswith("categorical__dest_")].sum() == 0
    assert encoded[encoded.index.str.startswith("categorical__")].sum() == len(CATEGORICAL) - 1


def test_a_row_of_nothing_is_imputed(fitted: Pipeline, replayed: pd.DataFrame) -> None:
    """A row without a single value gets probabilities that add up to one."""
    row = _features(replayed.head(1)).astype(object)
    row[:] = np.nan
    probabilities = fitted.predict_proba(row)
    assert probabilities.sum() == pytest.approx(1.0)
    assert np.isfinite(probabilities).all()


def test_skops_gives_the_same_model_back(fitted: Pipeline, replayed: pd.DataFrame) -> None:
    """Two types beyond skops' own list must be trusted, and the loaded model predicts the same to the last bit."""
    written = skops.io.dumps(fitted)
    assert skops.io.get_untrusted_types(data=written) == SKOPS_TYPES
    loaded = skops.io.loads(written, trusted=SKOPS_TYPES)
    rows = _features(replayed.head(N_ROWS))
    assert np.array_equal(loaded.predict_proba(rows), fitted.predict_proba(rows))


def test_fitting_reports_its_progress(monkeypatch: pytest.MonkeyPatch, sample: pd.DataFrame) -> None:
    """Reading and fitting are announced in sentences, the second with the number of flights."""
    monkeypatch.setattr(training_module, "load_flights", lambda: sample.head(N_ROWS))
    sentences: list[str] = []
    model, training = fit_flights(sentences.append)
    data, labels = training[list(FEATURES)], training[TARGET]
    assert [sentence.split(" from ")[0] for sentence in sentences] == [
        "reading the flights of 2013, with weather and planes",
        "fitting on 2,000 flights",
    ]
    assert (data.shape, len(labels)) == ((N_ROWS, len(FEATURES)), N_ROWS)
    assert list(model.classes_) == sorted(labels.unique())
