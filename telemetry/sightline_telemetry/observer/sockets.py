"""The sockets that the supervisor binds and hands on, so that connections wait while a process is started again."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_BACKLOG = 2048  # as uvicorn's


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening TCP socket; port 0 takes a free one.

    Raises OSError, with the address in its text, when the address cannot be bound.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    listening.listen(_BACKLOG)
    return listening


def listen_privately(name: int | str) -> tuple[socket.socket, Path]:
    """Returns a listening Unix socket for the observer of a service, and its path.

    name: the port of the service, by which `find` finds the socket; an id if the observer has no port to be found by.
    Only the user who runs the service can connect. A socket that a killed service left behind is replaced.
    Raises OSError when no folder can be used.
    """
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder):
                return _bind(folder / f"{name}.sock", folder / f"{name}-{os.getpid()}.sock")
    tried = ", ".join(str(folder) for folder in _folders())
    raise OSError(f"no folder for the observer's socket can be used (tried {tried}); set TMPDIR to one that can")


def find(port: int) -> Path | None:
    """Returns the path of the observer's socket of the service on a port, None if there is none."""
    paths = (path for folder in _folders() for path in (folder / f"{port}.sock", *folder.glob(f"{port}-*.sock")))
    return next((path for path in paths if _is_private(path.parent) and _answers(path)), None)


def _folders() -> Iterator[Path]:
    # With a read-only root, /dev/shm is often the one place that can be written; a socket takes no room there.
    bases = (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp", "/dev/shm")  # noqa: S108 - see below
    return (Path(base) / f"sightline-{os.getuid()}" for base in bases if base)


def _is_private(folder: Path) -> bool:
    """Whether a folder is our own and closed to others: in /tmp another user may have made it before."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _bind(*paths: Path) -> tuple[socket.socket, Path]:
    """Binds the first path on which no other service listens: containers may share a folder and a port."""
    path = next(path for path in paths if path is paths[-1] or not _answers(path))
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening, path


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        with suppress(OSError):
            client.connect(str(path))
            return True
    return False
