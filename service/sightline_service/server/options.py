"""How uvicorn runs the service, wherever it is started: by `sightline serve`, by the demo, or by a test."""

from typing import Any

from uvicorn import Config
from uvicorn.config import LOGGING_CONFIG

from sightline_service.server.asgi_bypass import BypassApp
from sightline_service.server.protocol import BypassProtocol


def server_options(
    host: str, port: int, *, log_level: str = "info", log_config: dict[str, Any] | None = LOGGING_CONFIG
) -> dict[str, Any]:
    """Returns the options of `uvicorn.run` and `uvicorn.Config` for an app of ours.

    log_config: for `logging.config`; uvicorn's own if not given. With None loggers stay as they are.
    """
    return {
        "host": host,
        "port": port,
        "http": BypassProtocol,
        "ws": "none",  # an offer to speak WebSocket is ignored like any other upgrade
        "log_level": log_level,
        "log_config": log_config,
        "access_log": False,  # the request log has a line per request, off the request's way
        "reset_contextvars": True,  # otherwise a pipelined request would begin in the trace of the one before it
    }


class ServerConfig(Config):
    """uvicorn's configuration for an app of ours, with its certificate if it has one.

    more: further options of `server_options` and of `uvicorn.Config`.
    """

    def __init__(self, app: BypassApp, host: str, port: int, *, log_level: str = "info", **more: Any) -> None:
        self._certificate = certificate = app.certificate
        options = {**server_options(host, port, log_level=log_level), **more}
        if certificate is not None:
            options |= {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
        super().__init__(app, **options)

    def load(self) -> None:
        """Loads what uvicorn does; new connections then have the certificate as it is in its files."""
        super().load()
        if self._certificate is not None and self.ssl is not None:
            self._certificate.keep_in(self.ssl)
