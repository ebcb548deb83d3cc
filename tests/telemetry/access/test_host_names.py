"""Which Host headers are allowed."""

import pytest

from sightline_telemetry.access.host_names import HostNames, default_names, host_names

LOOPBACK = HostNames(default_names("127.0.0.1"))


@pytest.mark.parametrize(
    "host", [b"localhost", b"LocalHost:8000", b"localhost.", b"127.0.0.1", b"127.0.0.1:1", b"[::1]", b"[::1]:8000"]
)
def test_loopback_has_three_names_on_any_port(host: bytes) -> None:
    """Case, port and the dot of the root do not matter; an allowed header is known the second time too."""
    assert host in LOOPBACK
    assert host in LOOPBACK


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"attacker.example",
        b"localhost.attacker.example",
        b"localhost:80:80",
        b"localhost:evil",
        b"localhost@attacker.example",
        b"attacker.example:localhost",
        b"127.0.0.1.attacker.example",
        b"[::1",
        b"[::1]:",
        b"::1:8000",
        b"\xff\xfe",
        b"localhost" + b":1" * 1000,
    ],
)
def test_what_is_no_name_of_loopback_is_refused(host: bytes) -> None:
    """Nothing that only resembles an allowed name is allowed."""
    assert host not in LOOPBACK


def test_an_ending_allows_what_stands_before_it() -> None:
    """A pattern allows the names below a domain, and not the domain itself."""
    names = HostNames(["*.example.com", "models.example.org"])
    allowed = [b"a.example.com", b"a.b.EXAMPLE.com:443", b"models.example.org"]
    refused = [b"example.com", b"badexample.com", b"a.example.com.evil", b"x.models.example.org"]
    assert all(host in names for host in allowed)
    assert not any(host in names for host in refused)


def test_a_star_and_an_open_address_allow_all() -> None:
    """Behind another address than loopback, all names are allowed unless a setting names some."""
    assert host_names(default_names("0.0.0.0")) is None  # noqa: S104
    assert host_names(("localhost", "*")) is None
    assert host_names(()) is None
    assert default_names("127.0.0.9")[-1] == "127.0.0.9"
    assert default_names("::1")[-1] == "[::1]"
