"""A fitted estimator in a file of the user's: skops, or joblib and pickle for those who trust the file."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from sightline_service.bundles.bundle import TRUSTED_TYPES
from sightline_service.errors import BundleError

SKOPS, PICKLES = ".skops", (".joblib", ".pkl", ".pickle")

Tell = Callable[[str], None]


def read_model(path: Path, trusted_types: Sequence[str], *, is_trusted: bool, warn: Tell) -> Any:
    """The estimator in a file, whose ending says how it was written.

    trusted_types: types that a skops file may hold besides those that are always trusted.
    is_trusted: the user made the file, so that whatever is in it may run; said by `warn` where it matters.
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
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return _read_skops(path, trusted_types, is_trusted, warn) if path.suffix == SKOPS else _unpickle(path, warn)
    except BundleError:
        raise
    except InconsistentVersionWarning as error:
        made, here = error.original_sklearn_version, error.current_sklearn_version
        raise BundleError(
            f"{path} was fitted with scikit-learn {made} and this is {here}: fit it again with {here}, or install "
            f"scikit-learn=={made}"
        ) from error
    except Exception as error:
        raise BundleError(f"{path} cannot be read: {missing_code(error)}") from error


def untrusted_types(model: Any) -> list[str]:
    """Types in a model that a service loads only if its settings say so. Raises what skops raises."""
    return sorted(set(skops.io.get_untrusted_types(data=skops.io.dumps(model))) - set(TRUSTED_TYPES))


def missing_code(error: Exception) -> str:
    """What is missing to load a model, and what to do; for another error, its own text."""
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


def _read_skops(path: Path, trusted_types: Sequence[str], is_trusted: bool, warn: Tell) -> Any:
    found = skops.io.get_untrusted_types(file=path)
    unknown = sorted(set(found) - {*TRUSTED_TYPES, *trusted_types})
    if unknown and not is_trusted:
        raise BundleError(
            f"{path} holds types that are not trusted: {', '.join(unknown)}; if you know that they are harmless, set "
            f"SIGHTLINE_TRUSTED_TYPES={','.join(unknown)}, or trust the file with --trust"
        )
    if unknown:
        warn(f"--trust: loading {path} with the types {', '.join(unknown)}")
    return skops.io.load(path, trusted=found)


def _unpickle(path: Path, warn: Tell) -> Any:
    warn(f"--trust: loading {path} runs whatever code is in it")
    return joblib.load(path)
