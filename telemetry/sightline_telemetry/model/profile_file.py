"""Reads and writes a reference profile as a JSON file: `profile.json` of a bundle, or a file of your own."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightline_telemetry.model.profile import (
    CategoricalFeature,
    DriftFloors,
    NumericFeature,
    ReferenceProfile,
    ScoreDistribution,
    ValueDistribution,
)

_LISTS = {"numeric": NumericFeature, "categorical": CategoricalFeature, "scores": ScoreDistribution}
_OPTIONS = {"predicted_values": ValueDistribution, "label_values": ValueDistribution, "floors": DriftFloors}


def load_profile(path: Path) -> ReferenceProfile:
    """Reads the profile that `save_profile` wrote, or the profile.json of a bundle.

    Raises OSError if the file cannot be read, ValueError if it is not JSON, and KeyError or TypeError if it is JSON
    but not a profile.
    """
    return profile_from_dict(json.loads(path.read_bytes()))


def profile_from_dict(data: dict[str, Any]) -> ReferenceProfile:
    """Builds the profile from what JSON has made of its fields. Raises KeyError or TypeError for anything else."""
    for name, kind in _LISTS.items():
        data[name] = tuple(kind(**_frozen(each)) for each in data[name])
    for name, kind in _OPTIONS.items():
        data[name] = kind(**_frozen(data[name])) if data[name] else None
    return ReferenceProfile(**_frozen(data))


def save_profile(profile: ReferenceProfile, path: Path) -> None:
    """Writes a profile as JSON. Raises OSError if the file cannot be written."""
    path.write_text(json.dumps(asdict(profile), indent=1, allow_nan=False), encoding="utf-8")


def _frozen(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a frozen dataclass, with JSON's lists converted to tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
