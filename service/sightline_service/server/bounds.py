"""What a client may hold open or send, per worker; the settings of the service have the same names and defaults."""

from dataclasses import dataclass

OWN_DESCRIPTORS = 64
"""Descriptors that a worker keeps for itself: files, sockets of the observer, the ledger, exports."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of the connections of one worker. Durations are in seconds, sizes in bytes.

    max_head_bytes, max_headers, head_s: of request line and headers. body_stall_s: without progress of a body.
    body_grace_s, min_body_rate: after that time a body has to arrive at this rate at least, in bytes per second.
    idle_s: between two requests. unread_s: until an answer is taken, which has to leave at min_body_rate from then on.
    max_open_body_bytes: of bodies of requests without an answer, over all connections.
    """

    max_head_bytes: int = 65_536
    max_headers: int = 100
    head_s: float = 10.0
    body_stall_s: float = 30.0
    body_grace_s: float = 10.0
    min_body_rate: float = 1000.0
    idle_s: float = 75.0
    unread_s: float = 30.0
    max_connections: int = 4096
    max_open_body_bytes: int = 128 << 20

    @property
    def sweep_s(self) -> float:
        """Returns how often deadlines are looked at: a second, or less where the shortest one asks for it."""
        shortest = min(self.head_s, self.body_stall_s, self.body_grace_s, self.idle_s, self.unread_s)
        return min(1.0, max(0.05, shortest / 4))


def connections_allowed(wanted: int) -> int:
    """Returns how many connections the descriptors of this process allow, at most those that are wanted.

    The soft limit of descriptors is raised as far as is needed and the hard limit allows, as Go's runtime does.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_DESCRIPTORS
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < needed:
        soft = needed if hard == unlimited else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == unlimited else max(1, min(wanted, soft - OWN_DESCRIPTORS))
