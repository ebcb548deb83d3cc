"""What the bare ASGI endpoints share: a body read under a limit, a reply sent in two messages."""

from collections.abc import Callable, Container, Mapping
from inspect import signature
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline_service.errors import BodyTooLargeError, ClientGoneError, OtherSiteError, UnsupportedMediaError

JSON = b"application/json"
_FASTAPI_TELEMETRY = ("tracing", "metrics", "logs", "operation_spans", "auto_configure")


class Reply(NamedTuple):
    """A whole response; headers: those besides content type and length."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class AsgiRoute(APIRoute):
    """A route for POST that is documented in OpenAPI like any other, and served by an ASGI endpoint.

    FastAPI's own work on a request (dependencies, validation, response model) costs more than a small model.
    """

    def __init__(self, path: str, documented: Callable[..., Any], served: ASGIApp, **options: Any) -> None:
        super().__init__(path, documented, methods=["POST"], **options)
        self.app = served


def route_path(scope: Scope) -> str:
    """Returns the path of a request as routes have it: without the prefix of a proxy, if it has that."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    after = path[len(prefix) :]
    return after if prefix and path.startswith(prefix) and after[:1] in ("", "/") else path


def fastapi_options(app: Callable[..., FastAPI] = FastAPI) -> dict[str, Any]:
    """Returns the options that switch FastAPI's own telemetry off, in the releases that have one.

    It would count every request a second time as soon as a global provider exists.
    """
    if "telemetry" not in signature(app).parameters:
        return {}
    return {"telemetry": dict.fromkeys(_FASTAPI_TELEMETRY, False)}


def check_body(headers: Mapping[bytes, bytes], n_bytes: int, max_bytes: int, content_types: Container[bytes]) -> None:
    """Raises BodyTooLargeError, UnsupportedMediaError or OtherSiteError for a body that the route does not accept.

    content_types: those that the route accepts; an empty one stands for a request without a content type. A browser
    sends such a request for a page of any site, without a question to the service before it.
    """
    if n_bytes > max_bytes:
        raise BodyTooLargeError(f"the body has {n_bytes} bytes; at most {max_bytes} are read, send fewer rows")
    content_type = headers.get(b"content-type", b"")
    if content_type and content_type in content_types:
        return
    kind = content_type.partition(b";")[0].strip().lower()
    if kind not in content_types:
        shown = content_type.decode("latin-1")[:80] or "none"
        raise UnsupportedMediaError(f"the content type is {shown}; send application/json")
    if not kind:
        check_site(headers)


def check_site(headers: Mapping[bytes, bytes]) -> None:
    """Raises OtherSiteError for a request that a browser sends for a page of another site.

    Source: https://www.w3.org/TR/fetch-metadata/; older browsers send only Origin.
    """
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        is_other = site not in (b"same-origin", b"none")
    else:
        is_other = origin is not None and origin.partition(b"://")[2] != headers.get(b"host")
    if is_other:
        raise OtherSiteError("a page of another site sent this; send content-type: application/json")


async def read_body(scope: Scope, receive: Receive, max_bytes: int, content_types: Container[bytes]) -> bytes:
    """Reads the whole body of a request. Raises ClientGoneError, and the errors of `check_body`.

    A body over the limit is not read to its end; the server discards the rest, so that its client reads the reply.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"").strip()
    if length.isdigit() and int(length) > max_bytes:
        check_body(headers, int(length), max_bytes, content_types)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            check_body(headers, size, max_bytes, content_types)
        chunks.append(chunk)
        if not message.get("more_body"):
            break
    check_body(headers, size, max_bytes, content_types)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def encoding_of(scope: Scope) -> bytes:
    """Returns the content encodings of a request, separated by commas; an empty one for a body that is not packed."""
    return b",".join(value for name, value in scope["headers"] if name == b"content-encoding")


async def respond(send: Send, reply: Reply) -> None:
    """Sends a whole response."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def client_gone(receive: Receive) -> None:
    """Waits until the client of a request has left; the body is read by then."""
    while (await receive())["type"] != "http.disconnect":
        pass
