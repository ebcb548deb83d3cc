"""Unpacks bodies that are sent with a Content-Encoding, up to a limit of the unpacked size."""

import zlib

from sightline_service.errors import BodyTooLargeError, MalformedBodyError, UnsupportedEncodingError

_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window sizes, as zlib takes them: they name the format too."""

_KNOWN = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": _ZLIB}


def window_of(encoding: bytes) -> int:
    """Returns the format of an encoding, for `unpack`; 0 for a body that is sent as it is.

    Raises UnsupportedEncodingError.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return 0
    if name not in _KNOWN:
        shown = encoding.decode("latin-1")[:80]
        raise UnsupportedEncodingError(f"the content encoding is {shown}; send the body with gzip, deflate or none")
    return _KNOWN[name]


def unpack(body: bytes, window: int, max_bytes: int) -> bytes:
    """Returns the body unpacked. Raises BodyTooLargeError before more than max_bytes are held, or MalformedBodyError.

    The members of a gzip file follow one another. Some clients send `deflate` without the header of zlib.
    """
    if not window:
        return body
    if window == _ZLIB and not _has_zlib_header(body):
        window = _RAW
    parts: list[bytes] = []
    left = max_bytes
    try:
        while body:
            unpacker = zlib.decompressobj(window)
            parts.append(unpacker.decompress(body, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise BodyTooLargeError(f"the body has more than {max_bytes} bytes unpacked; send fewer rows")
            if not unpacker.eof:
                raise MalformedBodyError("the packed body ends early")
            body = unpacker.unused_data if window == _GZIP else b""
    except zlib.error as error:
        raise MalformedBodyError(f"the body cannot be unpacked: {error}") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _has_zlib_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
