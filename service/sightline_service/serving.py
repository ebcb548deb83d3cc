"""Serves a bundle: under a supervisor with workers and an observer, or in this process alone."""

import logging.config
import os
import sys
from pathlib import Path
from typing import NoReturn

from sightline_service.settings import PREFIX
from sightline_telemetry.observer.supervisor import Plan

_PYTHON = (sys.executable, "-P", "-m")
"""Without -P the current folder would stand first on the path, and its modules would shadow those of others."""


def serve_supervised(bundle: Path, host: str, port: int, workers: int, metrics_port: int | None) -> NoReturn:
    """Becomes the supervisor: the memory of this command, with all that it has imported, is given back."""
    os.environ[f"{PREFIX}BUNDLE"] = str(bundle.resolve())
    plan = Plan(
        observer=[*_PYTHON, "sightline_telemetry.observer.process"],
        worker=[*_PYTHON, "sightline_service.worker"],
        n_workers=workers,
        host=host,
        port=port,
        metrics_port=metrics_port,
    )
    sys.stdout.flush()
    os.execv(sys.executable, [*_PYTHON, "sightline_telemetry.observer.supervisor", plan.to_json()])  # noqa: S606


def serve_in_process(bundle: Path, host: str, port: int) -> None:
    """Serves with one worker that is its own observer."""
    import uvicorn

    from sightline_service.app import create_app
    from sightline_service.server.options import server_options
    from sightline_telemetry.export.logs import log_config

    logging.config.dictConfig(log_config())
    uvicorn.run(create_app(bundle=bundle), **server_options(host, port, log_config=log_config()))
