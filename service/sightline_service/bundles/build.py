"""Makes a bundle of a model and its training data in a user's files, for `sightline bundle`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline_service.bundles.bundle import MODEL, Bundle, check_folder, digest_of, save_bundle
from sightline_service.bundles.drift_floors import RowTimes
from sightline_service.bundles.model_file import Tell, read_model
from sightline_service.bundles.model_loading import MAX_MODEL_BYTES, untrusted_types
from sightline_service.bundles.profiling import make_bundle
from sightline_service.bundles.training_data import TrainingData, read_training_data
from sightline_service.errors import BundleError
from sightline_service.prediction.inspection import unwrapped
from sightline_telemetry.model.profile import MAX_CATEGORIES, CategoricalFeature


@dataclass(frozen=True, slots=True)
class Source:
    """Holds what a bundle is made of: files, columns, its name and version.

    window_s: length of the windows that drift is looked for in; used with a time column only.
    is_trusted: the model file may run what code is in it.
    """

    model: Path
    data: Path
    target: str
    time: str | None
    name: str
    version: str
    window_s: int
    is_trusted: bool = False
    trusted_types: tuple[str, ...] = ()
    max_model_bytes: int = MAX_MODEL_BYTES


def bundle_files(source: Source, out: Path, tell: Tell, warn: Tell) -> Bundle:
    """Makes a bundle of files and writes it to the folder out, whole or not at all; describes it with `tell`.

    Raises BundleError, which says what to do.
    """
    for what, value in (("name", source.name), ("version", source.version)):
        if not value.strip() or "/" in value:
            raise BundleError(f"--{what} {value!r} is empty or has a slash; it becomes a label and part of an address")
    check_folder(out)
    tell(f"reading {source.model} and {source.data}")
    limits = source.trusted_types, source.max_model_bytes
    model = unwrapped(read_model(source.model, *limits, is_trusted=source.is_trusted, warn=warn))
    data = read_training_data(source.data, model, source.target, source.time)
    times = RowTimes(data.times, source.window_s) if data.times is not None else None
    tell(f"profiling {len(data.labels):,} rows and the model's predictions for them, then comparing")
    bundle = make_bundle(model, data.features, data.labels, source.name, source.version, times)
    save_bundle(bundle, out)
    for line in _describe(bundle, data, out):
        tell(line)
    if types := untrusted_types(out / MODEL):
        warn(f"it holds types that `sightline serve` loads only with SIGHTLINE_TRUSTED_TYPES={','.join(types)}")
        if own := _own_modules(types):
            warn(f"the code of {', '.join(own)} is not in the bundle: where it is served, PYTHONPATH must lead to it")
    return bundle


def _describe(bundle: Bundle, data: TrainingData, out: Path) -> Iterator[str]:
    profile = bundle.profile
    kinds = f"{len(profile.numeric)} numeric and {len(profile.categorical)} categorical features"
    yield f"{bundle.name} {bundle.version}: {profile.task} on {kinds}, {profile.n_rows:,} rows -> {out}"
    imputed = [f"{feature.name} ({feature.imputed_by})" for feature in profile.features if feature.imputed_by]
    if imputed:
        yield f"imputed: {', '.join(imputed)}"
    for feature in profile.categorical:
        if feature.others:
            yield _describe_others(feature)
    if data.unused:
        yield f"columns that the model does not use: {', '.join(data.unused)}"
    if profile.floors is not None:
        floors = profile.floors
        yield f"drift floors from {floors.n_windows} windows of {floors.window_s / 3600:g} h"
    elif data.times is not None:
        yield "no drift floors: too few windows hold enough rows; take a longer --window, or more training data"
    yield f"digest: {digest_of(out)}; `sightline serve` takes it as --digest, and then serves nothing else"


def _describe_others(feature: CategoricalFeature) -> str:
    n_known = len(feature.categories) + len(feature.others)
    return (
        f"{feature.name} has {n_known:,} categories: the {MAX_CATEGORIES} most frequent are counted by name, the rest "
        "as __other__; the model sees all of them as they are"
    )


def _own_modules(types: Sequence[str]) -> list[str]:
    """Returns the modules of the types that belong to no installed package: the user's own."""
    from importlib.metadata import packages_distributions  # reads every installed package

    installed = packages_distributions()
    roots = {name.partition(".")[0]: name.rpartition(".")[0] for name in types}
    return sorted(module for root, module in roots.items() if root not in installed and root != "builtins")
