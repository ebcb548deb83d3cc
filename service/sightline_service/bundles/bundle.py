"""A model and what is known of its training data, on disk: model (skops), profile, sample rows, manifest.

The manifest holds a checksum of every other file and the versions it was made with; a bundle that was altered,
or made with another minor version of scikit-learn, LightGBM or XGBoost, is refused.
"""

import hashlib
import platform
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from sightline_service.bodies.unreadable import UNREADABLE
from sightline_service.bundles.versions import mismatch, versions_of_model
from sightline_service.errors import BundleError
from sightline_service.prediction.columns import Value
from sightline_telemetry.model.profile import ReferenceProfile

FORMAT = 1
MODEL, PROFILE, SAMPLE, MANIFEST = "model.skops", "profile.json", "sample.json", "manifest.json"
_FILES = (MODEL, PROFILE, SAMPLE)

TRUSTED_TYPES = (
    "collections.OrderedDict",
    "functools.partial",  # histogram gradient boosting holds one of check_array; what else it may hold is checked too
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer._RemainderColsList",  # indices of columns, up to scikit-learn 1.6
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
)
"""Parts of scikit-learn's own models that skops does not trust by itself; pinned here, never read from a bundle."""

SampleRow = dict[str, Value | None]


class Manifest(msgspec.Struct, kw_only=True):
    """Describes a bundle. sha256: file -> checksum; versions: library -> the version it was made with."""

    format: int
    name: str
    version: str
    created: str = "at an unknown time"
    sha256: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Holds what is served: a fitted estimator under a name and a version, its profile, and sample rows."""

    name: str
    version: str
    model: Any
    profile: ReferenceProfile
    sample: tuple[SampleRow, ...]


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Writes a bundle; the folder appears whole or not at all, and takes the place of an older bundle."""
    check_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / "bundle"
        made.mkdir()
        skops.io.dump(bundle.model, made / MODEL)
        _write_json(made / PROFILE, bundle.profile)
        _write_json(made / SAMPLE, bundle.sample)
        _write_json(made / MANIFEST, _manifest(bundle, made))
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def check_folder(folder: Path) -> None:
    """Raises BundleError if a bundle cannot be written there; makes the folder's parent if it is not there."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise BundleError(f"{folder} holds something else than a bundle; name another folder")
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is a file; name another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder.parent).cleanup()
    except OSError as error:
        raise BundleError(f"nothing can be written to {folder.parent}: {error}") from error


def load_bundle(folder: Path, trusted_types: Sequence[str] = ()) -> Bundle:
    """Reads a bundle and checks it. Raises BundleError, which says what to do."""
    manifest = checked_manifest(folder)
    if wrong := mismatch(manifest.versions):
        raise BundleError(f"the bundle {folder} {wrong}")
    model = _load_model(folder / MODEL, trusted_types)
    rows = Annotated[tuple[dict[str, Any], ...], msgspec.Meta(min_length=1)]
    sample = _read_json(folder / SAMPLE, rows, "holds no sample rows")
    return Bundle(manifest.name, manifest.version, model, read_profile(folder), sample)


def read_profile(folder: Path) -> ReferenceProfile:
    """Reads the reference profile of a bundle. Raises BundleError for a file that is not a profile."""
    profile: ReferenceProfile = _read_json(folder / PROFILE, ReferenceProfile, "is not a profile")
    return profile


def untrusted_types(model_file: Path, trusted: Sequence[str] = ()) -> list[str]:
    """Returns the types in a model that skops wrote which load only if they are trusted, beside those trusted here.

    Raises what skops raises for a file that it cannot read.
    """
    return sorted(set(skops.io.get_untrusted_types(file=model_file)) - {*TRUSTED_TYPES, *trusted})


def checked_manifest(folder: Path) -> Manifest:
    """Reads a bundle's manifest and checks that every file is as it was made. Raises BundleError."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"there is no bundle in {folder}; `sightline train --out {folder}` makes the demo's")
    manifest: Manifest = _read_json(path, Manifest, "is not a manifest")
    if manifest.format != FORMAT:
        raise BundleError(f"{path} has format {manifest.format}, this version reads {FORMAT}; make it again")
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            raise BundleError(f"the bundle {folder} has no {name}; make the bundle again")
        if _sha256(path) != manifest.sha256.get(name):
            raise BundleError(
                f"{path} was altered since the bundle was made (its sha256 differs); make the bundle again"
            )
    return manifest


def read_back(model: Any) -> Any:
    """Returns a model as a bundle would give it back. Raises BundleError for one that skops cannot write."""
    try:
        written = skops.io.dumps(model)
        return skops.io.loads(written, trusted=skops.io.get_untrusted_types(data=written))
    except Exception as error:  # skops raises what the broken part raises
        if "<lambda>" in str(error):
            raise BundleError("it holds a lambda; make it a function with a name in a module, and fit again") from error
        raise BundleError(f"it cannot be written with skops ({error!r})") from error


def _manifest(bundle: Bundle, made: Path) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=bundle.name,
        version=bundle.version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256={name: _sha256(made / name) for name in _FILES},
        versions={"python": platform.python_version(), **versions_of_model(made / MODEL)},
    )


def _read_json(path: Path, kind: Any, complaint: str) -> Any:
    """Reads a file as a type. Raises BundleError with the complaint for JSON of another type."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except UNREADABLE as error:
        raise BundleError(f"{path} {complaint} ({error}); make the bundle again") from error


def _load_model(path: Path, trusted: Sequence[str]) -> Any:
    try:
        if unknown := untrusted_types(path, trusted):
            raise BundleError(
                f"{path} holds types that are not trusted: {', '.join(unknown)}; if you know that they are harmless, "
                f"set SIGHTLINE_TRUSTED_TYPES={','.join(unknown)}"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # the minor version is the same
            return skops.io.load(path, trusted=[*TRUSTED_TYPES, *trusted])
    except BundleError:
        raise
    except Exception as error:  # skops raises what the broken part raises
        raise BundleError(f"{path} cannot be read as a skops model ({error!r}); make the bundle again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, data: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=1))
