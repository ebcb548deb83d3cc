"""Loads a model that skops wrote: its size, its types and its structure are checked before it is used."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import skops.io
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import InconsistentVersionWarning

from sightline_service.bundles.archive import check_archive
from sightline_service.bundles.structure import check_structure
from sightline_service.bundles.trusted_types import TRUSTED_TYPES
from sightline_service.errors import BundleError, shortened

MAX_MODEL_BYTES = 1 << 30
"""Memory that a model may take, unless a setting says otherwise."""


def load_model(file: IO[bytes], trusted: Sequence[str], limit_bytes: int = MAX_MODEL_BYTES) -> Any:
    """Returns the estimator in a file at its start.

    trusted: types that it may hold besides those that are always trusted.
    Raises BundleError, whose text goes on after the name of the file, for whatever is wrong with it.
    """
    try:
        _check(file, trusted, limit_bytes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # the minor version is the same
            model = skops.io.load(file, trusted=[*TRUSTED_TYPES, *trusted])
    except BundleError:
        raise
    except Exception as error:  # skops raises what the broken part raises
        raise BundleError(f"cannot be read as a skops model ({text_of(error)}); make the bundle again") from error
    if not hasattr(model, "predict") or not (is_classifier(model) or is_regressor(model)):
        raise BundleError(f"holds a {type(model).__name__}, which is neither a classifier nor a regressor")
    try:
        check_structure(model)
    except BundleError as error:
        raise BundleError(f"is broken: {error}; make the bundle again") from error
    return model


def untrusted_types(model_file: Path | IO[bytes], trusted: Sequence[str] = ()) -> list[str]:
    """Returns the types in a model that skops wrote which load only if they are trusted, beside those trusted here.

    Raises what skops raises for a file that it cannot read.
    """
    found = skops.io.get_untrusted_types(file=model_file)
    return sorted(set(found) - {*TRUSTED_TYPES, *trusted})


def text_of(error: BaseException) -> str:
    """Returns the type and the text of an error, both short: it may quote a file."""
    return shortened(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _check(file: IO[bytes], trusted: Sequence[str], limit_bytes: int) -> None:
    try:
        check_archive(file, limit_bytes)
    except BundleError as error:
        raise BundleError(f"is not read: {error}") from error
    if unknown := untrusted_types(file, trusted):
        raise BundleError(
            f"holds types that are not trusted: {', '.join(unknown)}; if you know that they are harmless, set "
            f"SIGHTLINE_TRUSTED_TYPES={','.join(unknown)}"
        )
    file.seek(0)
