"""How much memory the container, or the slice, of this process may use: its cgroup's limit, of version 2 or 1."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60  # version 1 has no word for it, and writes a number near 2**63


def memory_limit_bytes(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Returns the smallest limit of the cgroups that this process is in; None if there is none, or no cgroup.

    cgroups: where they are mounted. own: which of them this process is in.
    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.max; cgroup-v1/memory.html
    """
    limits = []
    for file in _files(cgroups, own):
        with suppress(OSError, ValueError):  # the root has no limit, and `max` is none
            limits.append(int(file.read_text()))
    smallest = min(limits, default=_UNLIMITED_BYTES)
    return smallest if smallest < _UNLIMITED_BYTES else None


def _files(cgroups: Path, own: Path) -> Iterator[Path]:
    """Yields the files with limits, from the own cgroup up; in a container, the own one may be mounted as the root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = Path(path.lstrip("/"))
        for each in (folder, *folder.parents):
            yield root / each / name
