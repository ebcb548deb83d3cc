"""The demo's model: trained on January to June, bundled with its profile."""

from collections.abc import Callable
from pathlib import Path

from service.bundle import save_bundle
from service.demo.flights import FEATURES, TARGET, load_flights, training_months
from service.demo.pipeline import make_pipeline
from service.profiling import make_bundle

NAME, VERSION = "flights", "1"

Progress = Callable[[str], None]


def train(folder: Path, progress: Progress) -> None:
    """Trains the demo's model and writes its bundle; tells each stage as it begins."""
    progress("reading the flights of 2013, with weather and planes")
    training = training_months(load_flights())
    progress(f"fitting on {len(training):,} flights from January to June (about ten seconds)")
    data, labels = training[list(FEATURES)], training[TARGET]
    model = make_pipeline().fit(data, labels)
    progress("profiling the training data and the model's predictions for them")
    bundle = make_bundle(model, data, labels, NAME, VERSION)
    progress(f"writing the bundle to {folder}")
    save_bundle(bundle, folder)
