"""A model and what is known of its training data, on disk: model (skops), profile, sample rows, manifest.

The manifest holds a checksum of every other file and the versions it was made with; a bundle that was altered,
or made with another minor version of scikit-learn, LightGBM or XGBoost, is refused.
"""

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import skops.io

from sightline_service.bodies.unreadable import UNREADABLE
from sightline_service.bundles.model_loading import MAX_MODEL_BYTES, load_model, text_of
from sightline_service.bundles.versions import mismatch, versions_of_model
from sightline_service.errors import BundleError
from sightline_service.prediction.columns import Value
from sightline_telemetry.model.profile import ReferenceProfile

FORMAT = 1
MODEL, PROFILE, SAMPLE, MANIFEST = "model.skops", "profile.json", "sample.json", "manifest.json"
_FILES = (MODEL, PROFILE, SAMPLE)

_MAX_BYTES = {MANIFEST: 1 << 20, PROFILE: 32 << 20, SAMPLE: 64 << 20}
_MAX_OBJECTS = 1_000_000
"""As objects, empty ones of JSON take twenty times as much memory as their text."""

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


def load_bundle(
    folder: Path, trusted_types: Sequence[str] = (), *, digest: str = "", limit_bytes: int = MAX_MODEL_BYTES
) -> Bundle:
    """Reads a bundle and checks it. Raises BundleError, which says what to do.

    digest: that of the only bundle which may be read; empty allows any. limit_bytes: memory that the model may take.
    """
    manifest = _read_manifest(folder, digest)
    with ExitStack() as stack:  # what is read is what was checked, whatever happens to the names meanwhile
        files = {name: stack.enter_context(_checked_file(folder, name, manifest)) for name in _FILES}
        if wrong := mismatch(manifest.versions):
            raise BundleError(f"the bundle {folder} {wrong}")
        profile: ReferenceProfile = _read_json(files[PROFILE], folder / PROFILE, ReferenceProfile, "is not a profile")
        rows = Annotated[tuple[dict[str, bool | int | float | str | None], ...], msgspec.Meta(min_length=1)]
        sample = _read_json(files[SAMPLE], folder / SAMPLE, rows, "holds no sample rows")
        try:
            model = load_model(files[MODEL], trusted_types, limit_bytes)
        except BundleError as error:
            raise BundleError(f"{folder / MODEL} {error}") from error
    return Bundle(manifest.name, manifest.version, model, profile, sample)


def read_profile(folder: Path) -> ReferenceProfile:
    """Reads the reference profile of a bundle. Raises BundleError for a file that is not a profile."""
    with (folder / PROFILE).open("rb") as file:
        profile: ReferenceProfile = _read_json(file, folder / PROFILE, ReferenceProfile, "is not a profile")
    return profile


def checked_manifest(folder: Path) -> Manifest:
    """Reads a bundle's manifest and checks that every file is as it was made. Raises BundleError."""
    manifest = _read_manifest(folder)
    for name in _FILES:
        _checked_file(folder, name, manifest).close()
    return manifest


def digest_of(folder: Path) -> str:
    """Returns the digest of a bundle: of its manifest, which has the checksums of all other files.

    Raises BundleError.
    """
    return _digest(_manifest_bytes(folder))


def _read_manifest(folder: Path, digest: str = "") -> Manifest:
    path, text = folder / MANIFEST, _manifest_bytes(folder)
    if digest and digest != _digest(text):
        raise BundleError(
            f"the bundle {folder} has the digest {_digest(text)}, and only {digest} may be served; if it was made "
            "again, take the digest that `sightline bundle` printed"
        )
    manifest: Manifest = _decode(text, path, Manifest, "is not a manifest")
    if manifest.format != FORMAT:
        raise BundleError(f"{path} has format {manifest.format}, this version reads {FORMAT}; make it again")
    for what, value in (("name", manifest.name), ("version", manifest.version)):
        if not value.strip() or "/" in value:
            raise BundleError(f"{path} has the {what} {value!r}, which is empty or has a slash; make the bundle again")
    return manifest


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"there is no bundle in {folder}; `sightline train --out {folder}` makes the demo's")
    try:
        with path.open("rb") as file:
            return _read_all(file, path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _checked_file(folder: Path, name: str, manifest: Manifest) -> IO[bytes]:
    """Opens a file of a bundle, at its start. Raises BundleError if it is not as it was made."""
    path = folder / name
    if not path.is_file():
        raise BundleError(f"the bundle {folder} has no {name}; make the bundle again")
    try:
        file = path.open("rb")
        found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if found != manifest.sha256.get(name):
        file.close()
        raise BundleError(f"{path} was altered since the bundle was made (its sha256 differs); make the bundle again")
    file.seek(0)
    return file


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


def _read_json(file: IO[bytes], path: Path, kind: Any, complaint: str) -> Any:
    """Reads a file as a type. Raises BundleError with the complaint for JSON of another type."""
    return _decode(_read_all(file, path), path, kind, complaint)


def _read_all(file: IO[bytes], path: Path) -> bytes:
    limit_bytes = _MAX_BYTES[path.name]
    text = file.read(limit_bytes + 1)
    if len(text) > limit_bytes or text.count(b"{") > _MAX_OBJECTS:
        raise BundleError(f"{path} is larger than {limit_bytes >> 20} MB, or has more than {_MAX_OBJECTS:,} objects")
    return text


def _decode(text: bytes, path: Path, kind: Any, complaint: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except UNREADABLE as error:
        raise BundleError(f"{path} {complaint} ({text_of(error)}); make the bundle again") from error


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, data: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=1))
