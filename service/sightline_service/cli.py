"""The console script `sightline`; each command only reads its arguments and hands them on."""

import logging.config
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
import uvicorn
from rich.console import Console

from sightline_service.app import create_app
from sightline_service.bundles.build import Source, bundle_files
from sightline_service.bundles.drift_floors import WINDOW_H
from sightline_service.demo.run import Demo
from sightline_service.demo.scenarios import Scenario
from sightline_service.demo.simulate import simulate as simulate_scenario
from sightline_service.demo.training import train as train_demo
from sightline_service.diagnostics.doctor import report
from sightline_service.diagnostics.stations import examine_deployment
from sightline_service.errors import SettingsError, StartupError
from sightline_service.server.options import server_options
from sightline_service.settings import PREFIX, trusted_types
from sightline_telemetry.requests.logs import log_config

STARTED_S = 60
"""A worker that does not answer for so long is replaced; on a busy machine the imports alone take more than 5 s."""

DEMO_BUNDLE = Path(".sightline") / "flights"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serves a scikit-learn model and lets the people behind it see straight through it.",
)

Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port.")]


def _http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise typer.BadParameter(f"{text!r} is not an address like http://127.0.0.1:8000")
    return text.rstrip("/")


def main() -> None:
    """Runs a command; an error of ours is one sentence and exit code 2."""
    try:
        cli()
    except StartupError as error:
        Console(stderr=True).print(f"sightline: {error}", style="red", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


@cli.command()
def demo(
    port: Port = 8000,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second.")] = 20.0,
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; without it, until Ctrl-C.")] = None,
    bundle: Annotated[Path, typer.Option(help="Where the demo's bundle is, or is made.")] = DEMO_BUNDLE,
) -> None:
    """Train if there is no bundle, serve, replay flights, and say what to look at."""
    if not Demo(bundle, port, rate, duration, Console()).run():
        raise typer.Exit(1)


@cli.command()
def train(out: Annotated[Path, typer.Option(help="Folder of the bundle.")] = DEMO_BUNDLE) -> None:
    """Train the demo's model on the flights of January to June and write its bundle."""
    train_demo(out, Console().log)


@cli.command()
def bundle(
    model: Annotated[Path, typer.Option(help="The fitted estimator: .skops; .joblib, .pkl, .pickle with --trust.")],
    data: Annotated[Path, typer.Option(help="Its training data: .csv or .parquet.")],
    target: Annotated[str, typer.Option(help="Column of the labels.")],
    name: Annotated[str, typer.Option(help="Name under which the model is served and measured.")],
    version: Annotated[str, typer.Option(help="Its version.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    time: Annotated[str | None, typer.Option(help="Column of times: what was normal over time is learnt.")] = None,
    window: Annotated[float, typer.Option(min=0.01, help="Hours in a window of drift; of use with --time.")] = WINDOW_H,
    trust: Annotated[bool, typer.Option("--trust", help="The model file is yours: whatever is in it may run.")] = False,
) -> None:
    """Make a bundle of a fitted estimator and its training data: profiled, tried, compared with the estimator."""
    source = Source(model, data, target, time, name, version, round(window * 3600), trust, trusted_types())
    loud = Console(stderr=True, style="bold red", highlight=False, soft_wrap=True)
    calm = Console(highlight=False, soft_wrap=True)
    bundle_files(source, out, lambda line: calm.print(line, markup=False), lambda line: loud.print(line, markup=False))


@cli.command()
def serve(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; more than one needs OTLP.")] = 1,
) -> None:
    """Serve a bundle over HTTP."""
    if workers > 1 and not any(os.environ.get(name) for name in _ENDPOINTS):
        raise SettingsError(
            f"--workers {workers} needs {_ENDPOINTS[0]}: each worker counts for itself, and a scrape of /metrics would "
            "see one of them only; set it, or run one worker"
        )
    logging.config.dictConfig(log_config())
    app = create_app(bundle=bundle)  # a bundle that cannot be served stops us here, once
    options = server_options(host, port, log_config=log_config())
    if workers == 1:
        uvicorn.run(app, **options)
        return
    os.environ[f"{PREFIX}BUNDLE"] = str(bundle.resolve())
    uvicorn.run(
        "sightline_service.app:create_app",
        factory=True,
        workers=workers,
        timeout_worker_healthcheck=STARTED_S,
        **options,
    )


@cli.command()
def simulate(
    url: Annotated[str, typer.Argument(help="Address of the service.", parser=_http_url)] = "http://127.0.0.1:8000",
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Requests a second.")] = 20.0,
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; without it, until Ctrl-C.")] = None,
    scenario: Annotated[Scenario, typer.Option(help="What goes wrong, if anything.")] = Scenario.NORMAL,
) -> None:
    """Send flights to a running service that serves the demo's model, as training saw them or bent."""
    if not simulate_scenario(url, scenario, rate, duration, Console()):
        raise typer.Exit(1)


@cli.command()
def doctor(
    service: Annotated[str, typer.Option(help="The service.", parser=_http_url)] = "http://127.0.0.1:8000",
    prometheus: Annotated[
        str, typer.Option(help="Prometheus, or what speaks its API.", parser=_http_url)
    ] = "http://127.0.0.1:9090",
    traces: Annotated[str, typer.Option(help="Tempo or Jaeger.", parser=_http_url)] = "http://127.0.0.1:3200",
    patience: Annotated[float, typer.Option(min=1, help="Seconds that each station may take.")] = 30.0,
) -> None:
    """Follow one real request to the metrics, its trace and the exemplar that joins them; name what is broken."""
    if not report(examine_deployment(service, prometheus, traces, patience), Console()):
        raise typer.Exit(1)
