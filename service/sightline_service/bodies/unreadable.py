"""What is said of a body that is not JSON."""

import msgspec

from sightline_service.errors import MalformedBodyError

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, or not of the type that is read."""

_NOT_JSON = (b"NaN", b"Infinity")


def not_json(error: Exception, body: bytes | memoryview | msgspec.Raw) -> MalformedBodyError:
    """Returns the error with which such a body is refused; it explains what many libraries write for no number."""
    data = bytes(body)
    hint = "; NaN and Infinity are no JSON, send null for a missing value" if any(map(data.count, _NOT_JSON)) else ""
    return MalformedBodyError(f"the body is not JSON: {error}{hint}")
