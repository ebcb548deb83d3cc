"""The console script `sightline`; each command only reads its arguments and hands them on.

A command imports what it runs, so that `--version` and `--help` are quick, and a plain installation has every command
that needs no extra.
"""

import os
import platform
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer
from rich.console import Console

from sightline_service.demo.scenarios import Scenario
from sightline_service.errors import SettingsError, StartupError, naming_extras
from sightline_telemetry.export.variables import drop_empty
from sightline_telemetry.requests.propagation import PropagatorError, check_propagators
from sightline_telemetry.standard_streams import unblock_standard_streams

DEMO_BUNDLE = Path(".sightline") / "flights"
_VERSIONS = (
    "sightline-service",
    "sightline-telemetry",
    "scikit-learn",
    "numpy",
    "pandas",
    "fastapi",
    "uvicorn",
    "opentelemetry-sdk",
)

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ObserverKind = Literal["auto", "process", "off"]
KeyFile = Annotated[
    Path | None, typer.Option(help="File with the key for the service; without it SIGHTLINE_API_KEY has the key.")
]
Ca = Annotated[Path | None, typer.Option(help="Certificates to trust instead of the system's, in PEM.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port.")]


def _http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise typer.BadParameter(f"{text!r} is not an address like http://127.0.0.1:8000")
    return text.rstrip("/")


def main() -> None:
    """Runs a command; an error that is raised on purpose is printed as one sentence, with exit code 2."""
    try:
        with naming_extras():
            _check_otel_variables()
            cli()
    except StartupError as error:
        Console(stderr=True).print(f"sightline: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(2) from None


def _check_otel_variables() -> None:
    """Stops for a propagator that is not installed: OpenTelemetry could then not even be imported."""
    drop_empty(os.environ)
    try:
        check_propagators(os.environ)
    except PropagatorError as error:
        raise SettingsError(str(error)) from error


def _print_versions(is_wanted: bool) -> None:
    if is_wanted:
        for name in _VERSIONS:
            typer.echo(f"{name} {version_of(name)}")
        typer.echo(f"Python {platform.python_version()}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_versions, is_eager=True, help="Print the versions in use, and exit."),
    ] = False,
) -> None:
    """Serves a scikit-learn model and lets the people behind it see straight through it."""


@cli.command()
def demo(
    port: Port = 8000,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests per second.")] = 20.0,
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; without it, until Ctrl-C.")] = None,
    bundle: Annotated[
        Path, typer.Option(help="Folder of the demo's bundle, which is made if there is none.")
    ] = DEMO_BUNDLE,
    key_file: KeyFile = None,
    ca: Ca = None,
) -> None:
    """Train if there is no bundle, serve, replay flights, and print what to look at."""
    from sightline_service.demo.run import Demo
    from sightline_service.diagnostics.credentials import Credentials

    if not Demo(bundle, port, rate, duration, Console(), Credentials.read(key_file, ca)).run():
        raise typer.Exit(1)


@cli.command()
def train(out: Annotated[Path, typer.Option(help="Folder of the bundle.")] = DEMO_BUNDLE) -> None:
    """Train the demo's model on the flights of January to June and write its bundle."""
    from sightline_service.demo.training import train as train_demo

    train_demo(out, Console().log)


@cli.command()
def bundle(
    model: Annotated[Path, typer.Option(help="The fitted estimator: .skops; .joblib, .pkl, .pickle with --trust.")],
    data: Annotated[Path, typer.Option(help="Its training data: .csv or .parquet.")],
    target: Annotated[str, typer.Option(help="Column of the labels.")],
    name: Annotated[str, typer.Option(help="Name under which the model is served and measured.")],
    version: Annotated[str, typer.Option(help="Its version.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    time: Annotated[str | None, typer.Option(help="Column of times, from which drift floors are learnt.")] = None,
    window: Annotated[float, typer.Option(min=0.01, help="Hours per window of drift; used with --time.")] = 24.0,
    trust: Annotated[bool, typer.Option("--trust", help="Run code in the model file: it is your own.")] = False,
) -> None:
    """Make a bundle of a fitted estimator and its training data: profiled, served, compared with the estimator."""
    from sightline_service.bundles.build import Source, bundle_files
    from sightline_service.settings import max_model_bytes, trusted_types

    limits = trusted_types(), max_model_bytes()
    source = Source(model, data, target, time, name, version, round(window * 3600), trust, *limits)
    loud = Console(stderr=True, style="bold red", highlight=False, soft_wrap=True)
    calm = Console(highlight=False, soft_wrap=True)
    bundle_files(source, out, lambda line: calm.print(line, markup=False), lambda line: loud.print(line, markup=False))


@cli.command()
def inspect(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Show what is in a bundle: digest, features, classes, steps, types to trust, versions."""
    from sightline_service.bundles.summary import summarize
    from sightline_service.settings import max_model_bytes, trusted_types

    for line in summarize(bundle, trusted_types(), max_model_bytes()):
        typer.echo(line)


@cli.command()
def serve(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that serve.")] = 1,
    observer: Annotated[ObserverKind, typer.Option(help="Where events are folded, exported and logged.")] = "auto",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="A port of its own for /metrics, beside the service's.")
    ] = None,
    digest: Annotated[str, typer.Option(help="Serve the bundle with this digest only: sha256:...")] = "",
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate with its chain, in PEM: serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, in PEM.")] = None,
    root_path: Annotated[str, typer.Option(help="Prefix of all paths at a proxy in front, such as /churn.")] = "",
) -> None:
    """Serve a bundle over HTTP: workers write events, an observer process watches them."""
    unblock_standard_streams()
    from sightline_service.serving import little_memory, open_to_all, serve_in_process, serve_supervised, set_option
    from sightline_telemetry.export.exporters import is_disabled

    set_option("digest", digest)
    set_option("tls_cert", "" if tls_cert is None else str(tls_cert))
    set_option("tls_key", "" if tls_key is None else str(tls_key))
    set_option("root_path", root_path)
    if warning := open_to_all(host):
        typer.echo(f"sightline: {warning}", err=True)
    too_little = little_memory() if observer == "auto" else ""
    if observer != "off" and not too_little and not is_disabled():
        serve_supervised(bundle, host, port, workers, metrics_port)
    if workers > 1 or metrics_port is not None:
        raise SettingsError(
            "--workers and --metrics-port need the observer process: without it, each worker would have counts of its "
            "own, and a scrape would get those of one; leave out --observer off and OTEL_SDK_DISABLED, or run one "
            f"worker{f'; {too_little}: --observer process starts it all the same' if too_little else ''}"
        )
    if too_little:
        typer.echo(f"sightline: no observer process: {too_little}; --observer process starts it all the same", err=True)
    serve_in_process(bundle, host, port)


@cli.command()
def inflight(port: Port = 8000) -> None:
    """Show the requests that a service on this machine is serving now, and since when."""
    from sightline_service.diagnostics.watching import show_in_flight

    show_in_flight(port, Console(highlight=False))


@cli.command()
def tail(
    port: Port = 8000,
    route: Annotated[str, typer.Option(help="Only this route, such as /predict/model.")] = "",
    status: Annotated[str, typer.Option(help="Only statuses that begin so: 5, 50, 503.")] = "",
    slower_than: Annotated[float, typer.Option(min=0, help="Only requests of at least so many seconds.")] = 0.0,
) -> None:
    """Follow the requests of a service on this machine as they end; shows no feature values."""
    from sightline_service.diagnostics.watching import Wanted, show_ended

    show_ended(port, Wanted(route, status, slower_than), Console(highlight=False))


@cli.command()
def simulate(
    url: Annotated[str, typer.Argument(help="Address of the service.", parser=_http_url)] = "http://127.0.0.1:8000",
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Requests per second.")] = 20.0,
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; without it, until Ctrl-C.")] = None,
    scenario: Annotated[Scenario, typer.Option(help="The fault that is simulated, if any.")] = Scenario.NORMAL,
    key_file: KeyFile = None,
    ca: Ca = None,
) -> None:
    """Send flights to a running service that serves the demo's model, as in training or with a fault."""
    from sightline_service.demo.simulate import simulate as simulate_scenario
    from sightline_service.diagnostics.credentials import Credentials

    if not simulate_scenario(url, scenario, rate, duration, Console(), Credentials.read(key_file, ca)):
        raise typer.Exit(1)


@cli.command()
def doctor(
    service: Annotated[str, typer.Option(help="The service.", parser=_http_url)] = "http://127.0.0.1:8000",
    prometheus: Annotated[
        str, typer.Option(help="Prometheus, or a server with its API.", parser=_http_url)
    ] = "http://127.0.0.1:9090",
    traces: Annotated[str, typer.Option(help="Tempo or Jaeger.", parser=_http_url)] = "http://127.0.0.1:3200",
    patience: Annotated[float, typer.Option(min=1, help="Seconds that each station may take.")] = 30.0,
    key_file: KeyFile = None,
    ca: Ca = None,
) -> None:
    """Follow one real request to the metrics, its trace and the exemplar that joins them; name what is broken."""
    from sightline_service.diagnostics.credentials import Credentials
    from sightline_service.diagnostics.doctor import report
    from sightline_service.diagnostics.stations import examine_deployment

    credentials = Credentials.read(key_file, ca)
    if not report(examine_deployment(service, prometheus, traces, patience, credentials), Console()):
        raise typer.Exit(1)


key = typer.Typer(no_args_is_help=True, help="Keys for the clients of a service.")
cli.add_typer(key, name="key")


@key.command("add")
def key_add(
    name: Annotated[str, typer.Argument(help="Name of the client, which traces and counts show.")],
    scope: Annotated[
        list[str], typer.Option(help="What the key allows, predict, feedback or read; may be given several times.")
    ],
    file: Annotated[Path | None, typer.Option(help="File of keys; without it that of SIGHTLINE_API_KEYS.")] = None,
) -> None:
    """Make a key, write its hash to the file of keys, and print the key once: it is stored nowhere."""
    from sightline_service.new_key import add_key

    made, path = add_key(name, ",".join(scope).split(","), file)
    typer.echo(made)
    typer.echo(f"sightline: its hash is in {path}; the key is shown this once and stored nowhere", err=True)
