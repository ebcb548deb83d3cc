"""A port of its own for scrapes, apart from the service's."""

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class ScrapePort:
    """Answers `GET /metrics` on a listening socket, from threads.

    render: returns the body and its content type, for an Accept header.
    """

    def __init__(self, descriptor: int, render: Callable[[str], tuple[bytes, str]]) -> None:
        listening = socket.socket(fileno=descriptor)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404, explain="only /metrics is answered here")
                    return
                body, content_type = render(self.headers.get("Accept", ""))
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Writes no line: the log has the requests of the service."""

        self._server = ThreadingHTTPServer(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening

    def start(self) -> None:
        """Starts the thread that accepts."""
        Thread(target=self._server.serve_forever, name="scrape-port", daemon=True).start()
