"""What a client is told whose connection or request is refused by the server itself, before or beside the app."""

import json
from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from sightline_service.errors import PROBLEM_TYPES, ConnectionRefusal


def refusal_bytes(error: ConnectionRefusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns the whole response, after which the connection ends. headers: those that every response has."""
    body = {
        "type": PROBLEM_TYPES + error.problem,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    content = json.dumps(body, separators=(",", ":")).encode()
    lines = [
        *headers,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(content)),
        (b"connection", b"close"),
        *error.headers,
    ]
    return STATUS_LINE[error.status] + b"".join([b"%b: %b\r\n" % line for line in lines]) + b"\r\n" + content
