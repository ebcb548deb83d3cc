"""One worker of `sightline serve`: it serves on a socket that the supervisor has bound, and writes events.

    python -m sightline_service.worker

The supervisor starts it; all that it needs stands in its environment.
"""

import os
import select
import signal
import socket
import sys
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING

from rich.console import Console

from sightline_service.errors import StartupError, naming_extras, shortened
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.standard_streams import unblock_standard_streams

if TYPE_CHECKING:
    import uvicorn

    from sightline_service.server.asgi_bypass import BypassApp

_PARTS_S = 3.0
"""Of the time that the worker has for an orderly stop, its parts need this much; its last requests have the rest."""

ENDS_S = 5.0
"""How long a worker may take to end when its supervisor is gone."""


def main() -> int:
    """Serves until the supervisor stops it; returns the exit code."""
    unblock_standard_streams()
    inheritance = Inheritance.take()
    if inheritance is None or inheritance.listening is None:
        sys.stderr.write("a worker is started by `sightline serve`\n")
        return 2
    Thread(target=_end_with_supervisor, args=(inheritance.lifeline,), name="lifeline", daemon=True).start()
    try:
        listening = socket.socket(fileno=inheritance.listening)
        server = _build_server(_create_app(inheritance, listening.getsockname()[0]), listening)
    except StartupError as error:
        Console(stderr=True).print(f"sightline: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    server.run(sockets=[listening])
    return 0


def _create_app(inheritance: Inheritance, host: str) -> "BypassApp":
    """Returns the app. Raises StartupError, whatever goes wrong: what a bundle holds may raise anything."""
    try:
        with naming_extras():
            from sightline_service.app import create_app

            return create_app(inheritance=inheritance, host=host)
    except StartupError:
        raise
    except MemoryError as error:
        raise StartupError("there is not enough memory to load the bundle") from error
    except Exception as error:
        raise StartupError(f"the service cannot start: {type(error).__name__}: {shortened(str(error))}") from error


def _build_server(app: "BypassApp", listening: socket.socket) -> "uvicorn.Server":
    import uvicorn

    from sightline_service.server.options import ServerConfig
    from sightline_service.settings import load_settings
    from sightline_telemetry.observer.supervisor import workers_grace_s

    grace_s = max(1, int(workers_grace_s(load_settings().grace_s) - _PARTS_S))
    host, port = listening.getsockname()[:2]
    config = ServerConfig(app, host, port, log_config=None, timeout_graceful_shutdown=grace_s)
    return uvicorn.Server(config)


def _end_with_supervisor(lifeline: int) -> None:
    """Ends this process when the supervisor is gone."""
    select.select([lifeline], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(ENDS_S)
    os._exit(1)  # the event loop stands still, or a request does not end


if __name__ == "__main__":
    sys.exit(main())
