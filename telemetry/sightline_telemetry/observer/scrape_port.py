"""A port of its own for scrapes, apart from the service's."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Thread
from typing import Any

from sightline_telemetry.access.host_names import HostNames
from sightline_telemetry.access.key_file import READ, KeyFile
from sightline_telemetry.faults import Faults

TIMEOUT_S = 5.0
"""A client that sends or reads nothing for so long is disconnected."""


@dataclass(frozen=True, slots=True)
class ScrapeAccess:
    """Who may scrape, as on the service's own port; each is None where nothing is set."""

    hosts: HostNames | None = None
    keys: KeyFile | None = None
    tls: SSLContext | None = None

    def refusal(self, headers: Message) -> HTTPStatus | None:
        """Returns the status with which a request is refused; None if it is answered."""
        if self.hosts is not None and headers.get("Host", "").encode("latin-1", "replace") not in self.hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        if self.keys is None:
            return None
        sent = headers.get("Authorization")
        key = self.keys.holder(None if sent is None else sent.encode("latin-1", "replace"))
        if key is None:
            return HTTPStatus.UNAUTHORIZED
        return None if READ in key.scopes else HTTPStatus.FORBIDDEN


OPEN = ScrapeAccess()


class ScrapePort:
    """Answers `GET /metrics` on a listening socket, from threads.

    render: returns the body and its content type, for an Accept header; if it raises, the answer is 503.
    access: who may scrape; without it, every client that reaches the port.
    """

    def __init__(
        self,
        descriptor: int,
        render: Callable[[str], tuple[bytes, str]],
        faults: Faults,
        access: ScrapeAccess = OPEN,
    ) -> None:
        listening = socket.socket(fileno=descriptor)

        class Handler(BaseHTTPRequestHandler):
            timeout = TIMEOUT_S

            def do_GET(self) -> None:  # http.server's name
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404, explain="only /metrics is answered here")
                    return
                refusal = access.refusal(self.headers)
                if refusal is not None:
                    self.send_response(refusal)
                    self.send_header("WWW-Authenticate", 'Bearer realm="sightline", scope="read"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                status, body, headers = 503, b"", {"Retry-After": "1"}
                with faults.contained("reading"):
                    body, content_type = render(self.headers.get("Accept", ""))
                    status, headers = 200, {"Content-Type": content_type}
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Writes no line: the log has the requests of the service."""

        class Server(ThreadingHTTPServer):
            def get_request(self) -> tuple[Any, Any]:
                connection, address = super().get_request()
                if access.tls is not None:  # the handshake is made in the connection's own thread, at its first read
                    connection = access.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

            def handle_error(self, *_: object) -> None:
                """Writes no traceback to stderr: the client has left, or was too slow."""

        self._server = Server(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening

    def start(self) -> None:
        """Starts the thread that accepts."""
        Thread(target=self._server.serve_forever, name="scrape-port", daemon=True).start()
