"""Serves a bundle: under a supervisor with workers and an observer, or in this process alone."""

import logging.config
import os
import sys
from pathlib import Path
from typing import NoReturn

from sightline_service.memory_limit import memory_limit_bytes
from sightline_service.settings import PREFIX, load_settings
from sightline_telemetry.export.variables import advice
from sightline_telemetry.observer.supervisor import Plan
from sightline_telemetry.standard_streams import unblock_standard_streams

_PYTHON = (sys.executable, "-P", "-m")
"""Without -P the current folder would stand first on the path, and its modules would shadow those of others."""


LEAST_MEMORY_MB = 384
"""With less memory than this, a second process beside the worker takes too much of it."""


def little_memory() -> str:
    """Returns why there is too little memory for an observer process; nothing if there is enough."""
    limit_bytes = memory_limit_bytes()
    if limit_bytes is None or limit_bytes >= LEAST_MEMORY_MB << 20:
        return ""
    return f"memory is limited to {limit_bytes >> 20} MB, which is less than {LEAST_MEMORY_MB}"


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
    from sightline_service.server.options import server_options
    from sightline_telemetry.export.logs import log_config

    logging.config.dictConfig(log_config())
    uvicorn.run(create_app(bundle=bundle), **server_options(host, port, log_config=log_config()))
