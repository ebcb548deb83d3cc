"""Settings come from the environment; a bad one stops start-up with its name and value."""

from pathlib import Path

import pytest

from sightline_service.errors import SettingsError
from sightline_service.settings import load_settings


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables with the prefix become settings of their type."""
    monkeypatch.setenv("SIGHTLINE_BUNDLE", "somewhere")
    monkeypatch.setenv("SIGHTLINE_SLOW_S", "0.25")
    monkeypatch.setenv("SIGHTLINE_TRUSTED_TYPES", "a.B, c.D")
    settings = load_settings()
    assert (settings.bundle, settings.slow_s, settings.trusted_types) == (Path("somewhere"), 0.25, ("a.B", "c.D"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGHTLINE_SLOW_S", "soon"),
        ("SIGHTLINE_SLOW_S", "0"),
        ("SIGHTLINE_SLOW_S", "nan"),
        ("SIGHTLINE_TRACE_SHARE", "1.5"),
        ("SIGHTLINE_MAX_ROWS", "-1"),
        ("SIGHTLINE_GRACE_S", "0"),
        ("SIGHTLINE_SLOTS", "65536"),
        ("SIGHTLINE_RING_MB", "0"),
        ("SIGHTLINE_TRACES_EXEMPLAR_PER_S", "inf"),
        ("SIGHTLINE_RANDOM_ENDPOINT", "perhaps"),
    ],
)
def test_a_bad_value_stops_startup(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value that does not fit is named with its variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        load_settings(bundle="x")


def test_a_misspelt_name_stops_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that does not exist is named, with those that do."""
    monkeypatch.setenv("SIGHTLINE_SLOWS", "1")
    with pytest.raises(SettingsError, match=r"no setting SIGHTLINE_SLOWS; there are .*SIGHTLINE_SLOW_S"):
        load_settings(bundle="x")


def test_the_bundle_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings without a bundle are refused."""
    monkeypatch.delenv("SIGHTLINE_BUNDLE", raising=False)
    with pytest.raises(SettingsError, match="SIGHTLINE_BUNDLE"):
        load_settings()
