"""Files of training data, read as the model saw them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sightline_service.bundles.training_data import read_training_data
from sightline_service.errors import BundleError

COUNTRIES = ["NA", "ZA", "None", ""]


@pytest.fixture(name="data")
def _data() -> pd.DataFrame:
    """80 rows: Namibia and other words that pandas takes for missing, and labels of the kind."""
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "age": random.normal(0, 1, 80),
            "country": random.choice(COUNTRIES, 80),
            "label": random.choice(["NA", "01", ""], 80),
        }
    )


def fitted(data: pd.DataFrame) -> Any:
    """Words encoded, the rest as it is."""
    columns = make_column_transformer((OneHotEncoder(), ["country"]), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(data.drop(columns="label"), data["label"])


def test_words_that_the_model_knows_are_not_missing(data: pd.DataFrame, tmp_path: Path) -> None:
    """`NA` is a country where the encoder learnt it, and a class where the model did; `01` is no number."""
    data.to_csv(tmp_path / "data.csv", index=False)
    read = read_training_data(tmp_path / "data.csv", fitted(data), "label", None)
    assert read.features["country"].tolist() == data["country"].tolist()
    assert read.labels.tolist() == data["label"].tolist()


def test_words_that_the_model_does_not_know_are_missing(data: pd.DataFrame, tmp_path: Path) -> None:
    """What stands for nothing in a CSV is missing where the encoder has no such word."""
    model = fitted(data[data["country"] == "ZA"])
    data.to_csv(tmp_path / "data.csv", index=False)
    read = read_training_data(tmp_path / "data.csv", model, "label", None)
    assert read.features["country"].isna().tolist() == (data["country"] != "ZA").tolist()


def test_empty_lines_stand_before_a_header(data: pd.DataFrame, tmp_path: Path) -> None:
    """The first line with something in it is the header."""
    (tmp_path / "data.csv").write_text("\n\r\n" + data.to_csv(index=False))
    assert len(read_training_data(tmp_path / "data.csv", fitted(data), "label", None).labels) == 80


def test_an_index_with_a_name_is_a_column(data: pd.DataFrame, tmp_path: Path) -> None:
    """Parquet keeps an index apart; if the model was fitted on it, it is found."""
    data.set_index("country").to_parquet(tmp_path / "data.parquet")
    read = read_training_data(tmp_path / "data.parquet", fitted(data), "label", None)
    assert read.features["country"].tolist() == data["country"].tolist()


def test_a_column_without_a_name_is_refused(data: pd.DataFrame, tmp_path: Path) -> None:
    """A feature that no request can name is refused, and the error gives the remedy."""
    data = data.rename(columns={"age": ""})
    data.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(BundleError, match="a column without a name; name it and fit again"):
        read_training_data(tmp_path / "data.csv", fitted(data), "label", None)
