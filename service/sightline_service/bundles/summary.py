"""Describes what is in a bundle, for `sightline inspect`."""

from collections.abc import Iterator
from pathlib import Path

from sightline_service.bundles.archive import check_archive
from sightline_service.bundles.bundle import (
    MODEL,
    Manifest,
    checked_manifest,
    digest_of,
    load_bundle,
    read_profile,
)
from sightline_service.bundles.model_loading import MAX_MODEL_BYTES, text_of, untrusted_types
from sightline_service.bundles.verification import tried_predictor
from sightline_service.bundles.versions import mismatch
from sightline_service.errors import BundleError
from sightline_telemetry.estimators import active_steps
from sightline_telemetry.model.profile import CategoricalFeature, Feature, ReferenceProfile


def summarize(
    folder: Path, trusted_types: tuple[str, ...] = (), max_model_bytes: int = MAX_MODEL_BYTES
) -> Iterator[str]:
    """Yields one line per fact of a bundle; its model is loaded only if its types and versions allow it.

    Raises BundleError for a folder that holds no bundle, or one whose files were altered.
    """
    manifest = checked_manifest(folder)
    profile = read_profile(folder)
    size_bytes = sum(file.stat().st_size for file in folder.iterdir())
    yield f"{manifest.name} {manifest.version}, made {manifest.created}"
    yield f"digest: {digest_of(folder)}"
    yield f"size: {size_bytes / 1e6:,.2f} MB; checksums: as made"
    yield f"made with: {', '.join(f'{name} {version}' for name, version in manifest.versions.items())}"
    yield f"task: {profile.task}, fitted on {profile.n_rows:,} rows"
    if profile.outcomes:
        probabilities = "with" if profile.scores else "without"
        yield f"classes: {', '.join(profile.outcomes)}; {probabilities} probabilities"
    yield f"features: {len(profile.numeric)} numeric, {len(profile.categorical)} categorical"
    yield from _features(profile)
    yield from _model(folder, manifest, trusted_types, max_model_bytes)


def _features(profile: ReferenceProfile) -> Iterator[str]:
    features = {feature.name: feature for feature in profile.features}
    for name in profile.order:
        yield f"  {name}: {', '.join(_facts(features[name]))}"


def _facts(feature: Feature) -> Iterator[str]:
    yield f"{'categorical' if isinstance(feature, CategoricalFeature) else 'numeric'} {feature.dtype}"
    if isinstance(feature, CategoricalFeature):
        yield f"{len(feature.categories) + len(feature.others):,} categories"
        if not feature.accepts_unseen:
            yield "unseen categories are refused"
    if feature.imputed_by:
        yield f"imputed by {feature.imputed_by}"
    if not feature.accepts_missing:
        yield "missing values are refused"


def _model(folder: Path, manifest: Manifest, trusted_types: tuple[str, ...], limit_bytes: int) -> Iterator[str]:
    path = folder / MODEL
    try:
        with path.open("rb") as file:
            check_archive(file, limit_bytes)
            types = untrusted_types(file)
    except BundleError as error:
        raise BundleError(f"{path} is not read: {error}") from error
    except Exception as error:  # skops raises what the broken part raises
        raise BundleError(f"{path} cannot be read as a skops model ({text_of(error)}); make it again") from error
    yield f"types to trust: {', '.join(types) or 'none'}"
    if wrong := mismatch(manifest.versions):
        yield f"model: not loaded: it {wrong}"
    elif unknown := [each for each in types if each not in trusted_types]:
        yield f"model: not loaded: set SIGHTLINE_TRUSTED_TYPES={','.join(unknown)} if you know that they are harmless"
    else:
        bundle = load_bundle(folder, trusted_types, limit_bytes=limit_bytes)
        steps = active_steps(bundle.model) or [("estimator", bundle.model)]
        yield f"steps: {', '.join(f'{name} ({type(step).__name__})' for name, step in steps)}"
        predictor = tried_predictor(bundle)
        yield f"rows are predicted by {predictor.path_description}"
