"""The names under which a service may be asked, so that a page that rebinds its own name reads nothing."""

from collections.abc import Sequence
from ipaddress import ip_address

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_MAX_KEPT = 64
_MAX_BYTES = 300  # a name of DNS has 253 at most


class HostNames:
    """The names that a Host header may have, whatever port stands behind them.

    names: `*` allows all, `*.example.com` what ends so.

    >>> b"LOCALHOST:8000" in HostNames(["localhost"]), b"localhost.evil" in HostNames(["localhost"])
    (True, False)
    """

    def __init__(self, names: Sequence[str]) -> None:
        bare = [_bare(name.encode()) for name in names]
        self._exact = frozenset(name for name in bare if not name.startswith(b"*"))
        self._endings = tuple(name[1:] for name in bare if name.startswith(b"*."))
        self._kept: set[bytes] = set()  # headers that were allowed, as they were sent

    def __contains__(self, host: bytes) -> bool:
        return host in self._kept or self._is_allowed(host)

    def _is_allowed(self, host: bytes) -> bool:
        if len(host) > _MAX_BYTES:
            return False
        name = _bare(host)
        if name not in self._exact and not (self._endings and name.endswith(self._endings)):
            return False
        if len(self._kept) < _MAX_KEPT:
            self._kept.add(host)
        return True


def host_names(names: Sequence[str]) -> HostNames | None:
    """Returns what is allowed; None if all names are."""
    return None if not names or "*" in names else HostNames(names)


def is_loopback(address: str) -> bool:
    """Returns True for an address that other machines cannot reach.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if address.lower() == "localhost":
        return True
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def default_names(address: str) -> tuple[str, ...]:
    """Returns the names that are allowed where none are set: on loopback its own, elsewhere all.

    >>> default_names("127.0.0.1"), default_names("0.0.0.0")
    (('localhost', '127.0.0.1', '[::1]'), ('*',))
    """
    if not is_loopback(address):
        return ("*",)
    shown = f"[{address}]" if ":" in address else address
    return tuple(dict.fromkeys((*LOOPBACK, shown)))


def _bare(host: bytes) -> bytes:
    """Returns a name in lower case, without port and without the dot of the root."""
    name, colon, port = host.strip().lower().rpartition(b":")
    if not colon or not port.isdigit() or (b":" in name and not name.endswith(b"]")):
        name = host.strip().lower()
    return name.removesuffix(b".")
