"""Reads a fitted estimator from a user's file: skops, or joblib and pickle if the user trusts the file."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import joblib
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from sightline_service.bundles.archive import check_archive
from sightline_service.bundles.model_loading import untrusted_types
from sightline_service.bundles.structure import check_structure
from sightline_service.bundles.trusted_types import TRUSTED_TYPES
from sightline_service.bundles.versions import advice, minor_of
from sightline_service.errors import BundleError

SKOPS, PICKLES = ".skops", (".joblib", ".pkl", ".pickle")

Tell = Callable[[str], None]


def read_model(path: Path, trusted_types: Sequence[str], limit_bytes: int, *, is_trusted: bool, warn: Tell) -> Any:
    """Reads the estimator in a file, whose ending says how it was written.

    trusted_types: types that a skops file may hold besides those that are always trusted.
    limit_bytes: memory that a skops file may take.
    is_trusted: the user made the file, so that whatever is in it may run; `warn` is called where that matters.
    Raises BundleError, which says what to do.
    """
    if not path.is_file():
        raise BundleError(f"there is no model at {path}")
    if path.suffix not in (SKOPS, *PICKLES):
        raise BundleError(f"{path} ends in {path.suffix!r}; models are read from {', '.join((SKOPS, *PICKLES))}")
    if path.suffix != SKOPS and not is_trusted:
        raise BundleError(
            f"{path} is a pickle, and loading it runs whatever code is in it; if it is yours, say so with --trust, "
            "or write it with skops.io.dump"
        )
    try:
        trusted = _trusted(path, trusted_types, limit_bytes, is_trusted, warn) if path.suffix == SKOPS else []
        if path.suffix != SKOPS:
            warn(f"--trust: loading {path} runs whatever code is in it")
        try:
            return _load(path, trusted, "error")
        except InconsistentVersionWarning as error:
            if minor_of(error.original_sklearn_version) != minor_of(error.current_sklearn_version):
                raise
            return _load(path, trusted, "ignore")  # another patch of the same minor version
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    except InconsistentVersionWarning as error:
        made, here = error.original_sklearn_version, error.current_sklearn_version
        what = f"was fitted with scikit-learn {made}, and {here} is installed"
        raise BundleError(f"{path} {what}: {advice('scikit-learn', made)}") from error
    except Exception as error:
        raise BundleError(f"{path} cannot be read: {missing_code(error)}") from error


def missing_code(error: Exception) -> str:
    """Returns what is missing to load a model, and what to do; for another error, its own text."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"it needs the module {error.name!r}, which is not here; install it, or name the folder that holds it in "
            f"PYTHONPATH, for `sightline bundle` and for `sightline serve`"
        )
    if match := re.search(r"get attribute '(?P<name>.+?)' on <module '(?P<module>.+?)'", str(error)):
        return (
            f"it needs {match['name']!r} of the module {match['module']!r}, which has no such thing; move it into a "
            "module of its own, import it from there, and fit again"
        )
    return f"{type(error).__name__}: {error}"


def _trusted(path: Path, trusted_types: Sequence[str], limit_bytes: int, is_trusted: bool, warn: Tell) -> list[str]:
    """Returns the types with which a skops file is loaded. Raises BundleError for types that are not trusted."""
    with path.open("rb") as file:
        check_archive(file, limit_bytes)
    unknown = untrusted_types(path, trusted_types)
    if unknown and not is_trusted:
        raise BundleError(
            f"it holds types that are not trusted: {', '.join(unknown)}; if you know that they are harmless, set "
            f"SIGHTLINE_TRUSTED_TYPES={','.join(unknown)}, or trust the file with --trust"
        )
    if unknown:
        warn(f"--trust: loading {path} with the types {', '.join(unknown)}")
    return [*TRUSTED_TYPES, *trusted_types, *unknown]


def _load(path: Path, trusted: list[str], on_other_version: Literal["error", "ignore"]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter(on_other_version, InconsistentVersionWarning)
        if path.suffix != SKOPS:
            return joblib.load(path)
        model = skops.io.load(path, trusted=trusted)
        check_structure(model)
        return model
