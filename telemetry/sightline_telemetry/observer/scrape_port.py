"""A port of its own for scrapes, apart from the service's."""

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sightline_telemetry.faults import Faults

TIMEOUT_S = 5.0
"""A client that sends or reads nothing for so long is disconnected."""


class ScrapePort:
    """Answers `GET /metrics` on a listening socket, from threads.

    render: returns the body and its content type, for an Accept header; if it raises, the answer is 503.
    """

    def __init__(self, descriptor: int, render: Callable[[str], tuple[bytes, str]], faults: Faults) -> None:
        listening = socket.socket(fileno=descriptor)

        class Handler(BaseHTTPRequestHandler):
            timeout = TIMEOUT_S

            def do_GET(self) -> None:  # http.server's name
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404, explain="only /metrics is answered here")
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
            def handle_error(self, *_: object) -> None:
                """Writes no traceback to stderr: the client has left, or was too slow."""

        self._server = Server(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening

    def start(self) -> None:
        """Starts the thread that accepts."""
        Thread(target=self._server.serve_forever, name="scrape-port", daemon=True).start()
