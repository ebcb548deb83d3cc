"""Trains the demo's model on January to June, and bundles it with its profile."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from sklearn.pipeline import Pipeline

from sightline_service.bundles.bundle import save_bundle
from sightline_service.bundles.drift_floors import WINDOW_H, RowTimes
from sightline_service.bundles.profiling import make_bundle
from sightline_service.demo.flights import FEATURES, TARGET, load_flights, training_months
from sightline_service.demo.model import make_pipeline

NAME, VERSION = "flights", "1"

Progress = Callable[[str], None]


def fit_flights(progress: Progress) -> tuple[Pipeline, pd.DataFrame]:
    """Returns the fitted pipeline, and the flights it was fitted on."""
    progress("reading the flights of 2013, with weather and planes")
    training = training_months(load_flights())
    progress(f"fitting on {len(training):,} flights from January to June (about ten seconds)")
    return make_pipeline().fit(training[list(FEATURES)], training[TARGET]), training


def train(folder: Path, progress: Progress) -> None:
    """Trains the demo's model and writes its bundle; progress gets one sentence per stage as it begins."""
    model, training = fit_flights(progress)
    progress("profiling the training data and the model's predictions for them")
    periods = RowTimes(training["scheduled"], WINDOW_H * 3600)
    bundle = make_bundle(model, training[list(FEATURES)], training[TARGET], NAME, VERSION, periods)
    progress(f"writing the bundle to {folder}")
    save_bundle(bundle, folder)
