"""Sockets that are bound once: private to the user, found by the port, never taken from a running service."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from sightline_telemetry.observer.sockets import find, listen, listen_privately


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of sockets, in a directory for temporary files of this test's own."""
    with patch.dict(os.environ, {"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""}):
        yield tmp_path / f"sightline-{os.getuid()}"


def test_a_socket_is_private_and_found_by_its_port(folder: Path) -> None:
    """Folder and socket are closed to others, and who knows the port finds it."""
    assert find(59321) is None
    listening, path = listen_privately(59321)
    with listening:
        assert path == folder / "59321.sock" == find(59321)
        assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, path)] == [0o700, 0o600]
        assert not listening.get_inheritable()
        assert find(8001) is None


def test_what_a_killed_service_left_is_replaced(folder: Path) -> None:
    """A socket on which no process listens does not stand in the way, and is not found."""
    listening, path = listen_privately(59321)
    listening.close()
    assert list(folder.iterdir()) == [path]
    assert find(59321) is None
    again, same = listen_privately(59321)
    with again:
        assert same == path == find(59321)


def test_a_running_service_keeps_its_socket(folder: Path) -> None:
    """A second service of the same port, in another container that shares the folder, gets another name."""
    first, path = listen_privately(59321)
    second, other = listen_privately(59321)
    with first, second:
        assert other == folder / f"59321-{os.getpid()}.sock"
        assert find(59321) == path
    path.unlink()
    third, other = listen_privately(59321)
    with third:
        assert other == path


def test_a_folder_that_others_can_enter_is_not_used(folder: Path) -> None:
    """What another user may have made, or can change, is passed over."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    listening, path = listen_privately(38_211)
    with listening:
        assert path.parent != folder
        assert find(38_211) == path
    path.unlink()


def test_no_folder_is_an_error(folder: Path) -> None:
    """Without any folder the message names those that were tried."""
    del folder
    with patch.object(Path, "mkdir", side_effect=OSError), pytest.raises(OSError, match=r"tried .*; set TMPDIR"):
        listen_privately(59321)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_is_taken(host: str) -> None:
    """Port 0 takes a free one, of IPv4 or IPv6; a second socket of that port is refused."""
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        listening = listen(host, 0)
    except OSError:
        pytest.skip(f"{host} cannot be bound here")
    with listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host, port), timeout=5):
            pass
        with pytest.raises(OSError, match=rf"cannot listen on {host}:{port}: "):
            listen(host, port)
