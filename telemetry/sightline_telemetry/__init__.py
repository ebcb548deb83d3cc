"""Measures a model's predictions, inputs, labels and drift through OpenTelemetry, in any Python process.

The public names are imported from here. Each one is loaded at its first use, so that importing one part of the
package does not load the libraries of the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline_telemetry.measurement import Measurement
    from sightline_telemetry.model.dataframes import profile_frame
    from sightline_telemetry.model.profile import ReferenceProfile
    from sightline_telemetry.model.profile_file import load_profile, save_profile
    from sightline_telemetry.observer.forked_workers import observe

__all__ = ["Measurement", "ReferenceProfile", "load_profile", "observe", "profile_frame", "save_profile"]

_MODULE_OF = {
    "Measurement": "sightline_telemetry.measurement",
    "ReferenceProfile": "sightline_telemetry.model.profile",
    "load_profile": "sightline_telemetry.model.profile_file",
    "observe": "sightline_telemetry.observer.forked_workers",
    "profile_frame": "sightline_telemetry.model.dataframes",
    "save_profile": "sightline_telemetry.model.profile_file",
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
