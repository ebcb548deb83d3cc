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

from rich.console import Console

from sightline_service.errors import StartupError, naming_extras
from sightline_telemetry.observer.inheritance import Inheritance

_PARTS_S = 3.0
"""Of the time that the worker has for an orderly stop, its parts need this much; its last requests have the rest."""

ENDS_S = 5.0
"""How long a worker may take to end when its supervisor is gone."""


def main() -> int:
    """Serves until the supervisor stops it; returns the exit code."""
    inheritance = Inheritance.take()
    if inheritance is None or inheritance.listening is None:
        sys.stderr.write("a worker is started by `sightline serve`\n")
        return 2
    Thread(target=_end_with_supervisor, args=(inheritance.lifeline,), name="lifeline", daemon=True).start()
    try:
        with naming_extras():
            _serve(inheritance, socket.socket(fileno=inheritance.listening))
    except StartupError as error:
        Console(stderr=True).print(f"sightline: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    return 0


def _serve(inheritance: Inheritance, listening: socket.socket) -> None:
    import uvicorn

    from sightline_service.app import create_app
    from sightline_service.server.options import ServerConfig
    from sightline_service.settings import load_settings
    from sightline_telemetry.observer.supervisor import workers_grace_s

    grace_s = max(1, int(workers_grace_s(load_settings().grace_s) - _PARTS_S))
    host, port = listening.getsockname()[:2]
    app = create_app(inheritance=inheritance, host=host)
    config = ServerConfig(app, host, port, log_config=None, timeout_graceful_shutdown=grace_s)
    uvicorn.Server(config).run(sockets=[listening])


def _end_with_supervisor(lifeline: int) -> None:
    """Ends this process when the supervisor is gone."""
    select.select([lifeline], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(ENDS_S)
    os._exit(1)  # the event loop stands still, or a request does not end


if __name__ == "__main__":
    sys.exit(main())
