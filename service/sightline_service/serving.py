"""Serves a bundle: under a supervisor with workers and an observer, or in this process alone."""

import logging.config
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sightline_service.memory_limit import memory_limit_bytes
from sightline_service.settings import PREFIX, load_settings
from sightline_telemetry.access.host_names import is_loopback
from sightline_telemetry.export.variables import advice
from sightline_telemetry.observer.supervisor import Plan
from sightline_telemetry.standard_streams import unblock_standard_streams

_PYTHON = (sys.executable, "-P", "-m")
"""Without -P the current folder would stand first on the path, and its modules would shadow those of others."""


_NOT_STARTED = 3
"""The exit code of uvicorn for an address that cannot be bound."""

LEAST_MEMORY_MB = 384
"""With less memory than this, a second process beside the worker takes too much of it."""


def little_memory() -> str:
    """Returns why there is too little memory for an observer process; nothing if there is enough."""
    limit_bytes = memory_limit_bytes()
    if limit_bytes is None or limit_bytes >= LEAST_MEMORY_MB << 20:
        return ""
    return f"memory is limited to {limit_bytes >> 20} MB, which is less than {LEAST_MEMORY_MB}"


def set_option(name: str, value: str) -> None:
    """Sets a setting to the value of an option, for this process and those that it starts."""
    if value:
        os.environ[f"{PREFIX}{name.upper()}"] = value


def open_to_all(host: str) -> str:
    """Returns what to say of a service that other machines reach and that asks for no key; nothing of others."""
    if is_loopback(host) or load_settings(bundle=Path()).api_keys is not None:
        return ""
    return (
        f"{host} can be reached from other machines, and no key is needed: who reaches the port may predict, send "
        "labels and read everything; set SIGHTLINE_API_KEYS to a file of keys"
    )


def serve_supervised(bundle: Path, host: str, port: int, workers: int, metrics_port: int | None) -> NoReturn:
    """Becomes the supervisor: the memory of this command, with all that it has imported, is given back.

    Raises SettingsError for a setting that does not fit.
    """
    os.environ[f"{PREFIX}BUNDLE"] = str(bundle.resolve())
    settings = load_settings()
    plan = Plan(
        observer=[*_PYTHON, "sightline_telemetry.observer.process"],
        worker=[*_PYTHON, "sightline_service.worker"],
        n_workers=workers,
        host=host,
        port=port,
        metrics_port=metrics_port,
        grace_s=settings.grace_s,
        ring_bytes=settings.ring_mb << 20,
        slots=settings.slots,
    )
    for line in advice(os.environ, is_contrib=settings.http_tracing == "contrib"):
        sys.stderr.write(f"sightline: {line}\n")
    unblock_standard_streams().drain()
    os.execv(sys.executable, [*_PYTHON, "sightline_telemetry.observer.supervisor", plan.to_json()])  # noqa: S606


def serve_in_process(bundle: Path, host: str, port: int) -> None:
    """Serves with one worker that is its own observer."""
    import uvicorn

    from sightline_service.app import create_app
    from sightline_service.server.options import ServerConfig
    from sightline_telemetry.export.logs import log_config

    logging.config.dictConfig(log_config())
    server = uvicorn.Server(ServerConfig(create_app(bundle=bundle, host=host), host, port, log_config=log_config()))
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped in order
        server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)
