"""Files that are read again when they change, without a restart."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

LOOKS_EVERY_S = 1.0


class UnusableFileError(ValueError):
    """A file of keys or of a certificate cannot be used; the text says which one, why, and what to do."""


def check_writers(path: Path, what: str) -> None:
    """Raises UnusableFileError for a file that others than its owner and its group may write.

    what: the name of the file in the error.
    """
    if _mode(path, what) & stat.S_IWOTH and not _is_read_only(path):
        raise UnusableFileError(f"{what} {path} may be written by others: chmod o-w {path}")


def check_private(path: Path, what: str) -> None:
    """Raises UnusableFileError for a private key that others may write, or read outside a read-only mount.

    Its group may read it, because Kubernetes mounts Secrets so; a read-only mount belongs to who made it.
    """
    if _is_read_only(path):
        _mode(path, what)
        return
    mode = _mode(path, what)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnusableFileError(f"{what} {path} may be written by others than its owner: chmod go-w,o-r {path}")
    if mode & stat.S_IROTH:
        raise UnusableFileError(f"{what} {path} may be read by others: chmod o-r {path}")


def signature_of(*paths: Path) -> tuple[object, ...]:
    """Returns what changes when one of the files does; links are followed, so an exchanged folder is a change too."""
    return tuple(map(_signature, paths))


class Rereader:
    """Calls functions once per second from a thread: each looks whether its file has changed, and raises nothing."""

    def __init__(self) -> None:
        self._looks: list[Callable[[], None]] = []
        self._stopping = Event()
        self._thread: Thread | None = None

    def add(self, look: Callable[[], None]) -> None:
        """Adds a function; before `start`."""
        self._looks.append(look)

    def start(self) -> None:
        """Starts the thread, if there is something to look at."""
        if self._looks:
            self._stopping.clear()
            self._thread = Thread(target=self._run, name="rereader", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(LOOKS_EVERY_S)

    def _run(self) -> None:
        while not self._stopping.wait(LOOKS_EVERY_S):
            for look in self._looks:
                look()


def _signature(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, found.st_mode


def _mode(path: Path, what: str) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise UnusableFileError(f"{what} {path} cannot be read: {error.strerror}") from error


def _is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
