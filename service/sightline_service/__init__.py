"""Serves one scikit-learn model over HTTP.

The public names are imported from here. Each one is loaded at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline_service.app import create_app
    from sightline_service.bundles.bundle import Bundle, load_bundle, save_bundle
    from sightline_service.bundles.profiling import make_bundle

__all__ = ["Bundle", "create_app", "load_bundle", "make_bundle", "save_bundle"]

_MODULE_OF = {
    "Bundle": "sightline_service.bundles.bundle",
    "create_app": "sightline_service.app",
    "load_bundle": "sightline_service.bundles.bundle",
    "make_bundle": "sightline_service.bundles.profiling",
    "save_bundle": "sightline_service.bundles.bundle",
}

if not TYPE_CHECKING:  # a type checker that saw this function would accept every name

    def __getattr__(name: str) -> object:
        """Loads a public name at its first use (PEP 562)."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
