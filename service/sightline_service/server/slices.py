"""Where a read is cut, so that a parser which cannot be stopped sees at most one message at a time."""

from sightline_service.server.deadlines import Phase

HEAD_END = b"\r\n\r\n"

_SPLIT = len(HEAD_END) - 1
_LEAST_CHUNKED = 256
"""Least size of a part of a chunked body, which may contain the end of a head as often as it likes."""


def slice_end(phase: Phase, data: bytes, at: int, body_left: int | None) -> int:
    r"""Returns the end of the part of data that is parsed next, beginning at `at`.

    phase: of the connection. body_left: bytes that the current body misses; None in no body, or in a chunked one.

    >>> read = b"GET / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n"
    >>> read[: slice_end(Phase.IDLE, read, 0, None)]
    b'GET / HTTP/1.1\r\n\r\n'
    >>> slice_end(Phase.BODY, b"bodyGET / HTTP/1.1\r\n\r\n", 0, 4)
    4
    """
    if body_left is not None:
        return min(len(data), at + max(1, body_left))
    if phase is Phase.HEAD and at == 0:
        return min(len(data), _SPLIT)  # the end of the head may be split between two reads
    is_body = phase is Phase.BODY or phase is Phase.DRAINING
    found = data.find(HEAD_END, at + _LEAST_CHUNKED if is_body else at)
    return found + len(HEAD_END) if found >= 0 else len(data)


def replayed_head(length: bytes | None) -> bytes:
    """Returns a head after which a parser expects a body of this length; a chunked one without a length."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: " + length
    return b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n"
