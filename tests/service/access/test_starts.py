"""What is refused, or said, before a service listens."""

from pathlib import Path

import pytest

from sightline_service.app import create_app
from sightline_service.errors import SettingsError
from sightline_service.new_key import add_key
from sightline_service.serving import open_to_all
from sightline_service.settings import load_settings


def test_an_open_address_without_keys_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback needs no keys, and neither does an open address that has them."""
    assert open_to_all("127.0.0.1") == open_to_all("localhost") == ""
    assert "0.0.0.0 can be reached from other machines, and no key is needed" in open_to_all("0.0.0.0")  # noqa: S104
    monkeypatch.setenv("SIGHTLINE_API_KEYS", str(tmp_path / "keys"))
    assert open_to_all("0.0.0.0") == ""  # noqa: S104


def test_a_file_of_keys_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """The error names the file and the reason, before anything is loaded."""
    with pytest.raises(SettingsError, match=r"the file of keys .*keys cannot be read: No such file"):
        create_app(bundle=tmp_path, api_keys=tmp_path / "keys")


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    """One setting without the other is refused with both names."""
    with pytest.raises(SettingsError, match="SIGHTLINE_TLS_CERT and SIGHTLINE_TLS_KEY are set together"):
        load_settings(bundle=tmp_path, tls_cert=tmp_path / "cert.pem")


def test_a_name_has_one_key(tmp_path: Path) -> None:
    """A second key of a name is refused, and the file stays as it was."""
    path = tmp_path / "keys"
    add_key("shop", ["predict"], path)
    before = path.read_text()
    with pytest.raises(SettingsError, match="has a key shop already"):
        add_key("shop", ["read"], path)
    assert path.read_text() == before
    assert path.stat().st_mode & 0o007 == 0
