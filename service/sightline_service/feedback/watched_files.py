"""Files that are in use: removed under a process they live on for it alone, and are gone when it ends."""

from collections.abc import Iterable
from pathlib import Path

Identity = tuple[int, int] | None


class WatchedFiles:
    """Remembers which files stand under some names, to find out when they are removed or replaced.

    A name under which there is no file when this is made is not watched.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        found = {path: _identity(path) for path in paths}
        self._found = {path: identity for path, identity in found.items() if identity is not None}

    def missing(self) -> Path | None:
        """Returns the first name under which another file stands by now, or none; None if all are as they were."""
        return next((path for path, identity in self._found.items() if _identity(path) != identity), None)


def _identity(path: Path) -> Identity:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
