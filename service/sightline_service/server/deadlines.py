"""What a connection waits for, and since when: looked at once per second, so that a request pays nothing for it."""

from enum import IntEnum

from sightline_service.server.bounds import Bounds


class Phase(IntEnum):
    """What a connection is doing; the order matters to the protocol."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    ANSWERING = 3
    DRAINING = 4
    """The answer has left before the whole body was read; what still comes is discarded."""
    LINGERING = 5
    """A last answer is written; what still comes is discarded, so that the client gets to read it."""
    UNREAD = 6
    """The client has not taken what was written."""


LINGER_S = 5.0
"""How long a client may still send what is discarded. nginx's lingering_timeout has the same default."""


class Deadlines:
    """The deadline of one connection. since_s: when it was first seen in its phase.

    A phase that lasts shorter than a sweep is never seen, and costs nothing.
    """

    __slots__ = ("_message", "_phase", "_seen", "_start", "_window_s", "is_seen", "since_s")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self._phase = Phase.IDLE
        self._message: object = None
        self._start = self._seen = 0
        self._window_s = now_s
        self.is_seen = False
        """A sweep has seen the connection."""

    @property
    def is_waiting_for_head(self) -> bool:
        """Returns True if the last sweep found it without a request."""
        return self.is_seen and self._phase <= Phase.HEAD

    def overdue(self, phase: Phase, message: object, n_bytes: int, now_s: float, bounds: Bounds) -> str:
        """Returns the reason to end the connection now; nothing while it is in time.

        message: another object for each request. n_bytes: read of the body, or left to write.
        """
        if phase is not self._phase or message is not self._message or not self.is_seen:
            self.is_seen = True
            self._phase, self._message = phase, message
            self.since_s = self._window_s = now_s
            self._start = self._seen = n_bytes
            return ""
        waited_s = now_s - self.since_s
        match phase:
            case Phase.IDLE:
                return "idle" if waited_s >= bounds.idle_s else ""
            case Phase.HEAD:
                return "head_time" if waited_s >= bounds.head_s else ""
            case Phase.BODY:
                return "body_time" if self._is_slow(n_bytes, waited_s, now_s, bounds) else ""
            case Phase.UNREAD:
                has_left = self._start - n_bytes >= bounds.min_body_rate * waited_s
                return "unread" if waited_s >= bounds.unread_s and not has_left else ""
            case Phase.DRAINING | Phase.LINGERING:
                return "body_time" if waited_s >= LINGER_S else ""
        return ""

    def _is_slow(self, n_bytes: int, waited_s: float, now_s: float, bounds: Bounds) -> bool:
        """Returns True without progress, and below the rate: over all, or over the last stretch of body_stall_s.

        Otherwise a client that sent much at first could send a byte now and then for hours.
        """
        if waited_s >= bounds.body_grace_s and n_bytes < bounds.min_body_rate * waited_s:
            return True
        if now_s - self._window_s < bounds.body_stall_s:
            return False
        is_slow = n_bytes - self._seen < bounds.min_body_rate * (now_s - self._window_s)
        self._seen, self._window_s = n_bytes, now_s
        return is_slow
