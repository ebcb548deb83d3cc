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


def load_profile(path: Path) -> ReferenceProfile:
    """Reads the profile that `save_profile` wrote, or the profile.json of a bundle.

    Raises OSError if the file cannot be read, ValueError if it is not JSON, and KeyError or TypeError if it is JSON
    but not a profile.
    """
    return profile_from_dict(json.loads(path.read_bytes()))


def save_profile(profile: ReferenceProfile, path: Path) -> None:
    """Writes a profile as JSON. Raises OSError if the file cannot be written."""
    path.write_text(json.dumps(profile_to_dict(profile), indent=1, allow_nan=False), encoding="utf-8")


def profile_to_dict(profile: ReferenceProfile) -> dict[str, Any]:
    """Converts a profile to a dictionary that JSON can hold."""
    return asdict(profile)


def profile_from_dict(data: Mapping[str, Any]) -> ReferenceProfile:
    """Builds the profile from a dictionary of `profile_to_dict`. Raises KeyError or TypeError for any other."""
    return ReferenceProfile(
        task=data["task"],
        n_rows=data["n_rows"],
        order=tuple(data["order"]),
        numeric=tuple(NumericFeature(**_frozen(feature)) for feature in data["numeric"]),
        categorical=tuple(CategoricalFeature(**_frozen(feature)) for feature in data["categorical"]),
        outcomes=tuple(data["outcomes"]),
        predicted=tuple(data["predicted"]),
        labels=tuple(data["labels"]),
        scores=tuple(ScoreDistribution(**_frozen(score)) for score in data["scores"]),
        predicted_values=_distribution(data["predicted_values"]),
        label_values=_distribution(data["label_values"]),
        floors=DriftFloors(**data["floors"]) if data["floors"] else None,
    )


def _distribution(data: Mapping[str, Any] | None) -> ValueDistribution | None:
    return ValueDistribution(**_frozen(data)) if data else None


def _frozen(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a frozen dataclass, with JSON's lists converted to tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
