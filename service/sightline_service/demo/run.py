"""`sightline demo`: trains if there is no bundle, serves, replays flights, and prints what to look at."""

import asyncio
from collections import Counter
from pathlib import Path
from threading import Thread
from time import sleep
from types import FrameType
from typing import Any

import httpx2 as httpx
import uvicorn
from rich.console import Console
from rich.table import Table

from sightline_service.app import create_app
from sightline_service.demo.progress import run_shown
from sightline_service.demo.reconciliation import comparison, counted, draw_slowest
from sightline_service.demo.stream import FlightStream
from sightline_service.demo.traffic import Mix, Traffic
from sightline_service.demo.training import train
from sightline_service.diagnostics.clients import scraped_samples
from sightline_service.diagnostics.credentials import NONE, Credentials
from sightline_service.errors import BundleError, SettingsError
from sightline_service.server.asgi_bypass import BypassApp
from sightline_service.server.options import ServerConfig

TRACED_SHARE = 0.02
DUMMIES_PER_S = 2.0
DUMMY = {"time_delay_scale": 0.3, "error_rate": 0.1}

_LOOK_AT = (
    ("/docs", "the API, with an example that works as it stands"),
    ("/metrics", "everything that is counted; in OpenMetrics with exemplars"),
    ("/traces/{trace_id}", "a kept trace as OTLP/JSON; ids are in every response and exemplar"),
    ("/predict/random?time_delay_scale=1&error_rate=0.2", "make a spike or an error of your own"),
)


class _Server(uvicorn.Server):
    """A server on which Ctrl-C first ends the traffic, so that the summary can still be read from the service."""

    def __init__(self, config: uvicorn.Config, traffic: Traffic) -> None:
        super().__init__(config)
        self._traffic = traffic

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stops the traffic, whose end stops the server; a second signal stops the server at once."""
        if self._traffic.is_stopped:
            super().handle_exit(sig, frame)
        self._traffic.stop()


class Demo:
    """One run of the demo in one process: the service in the main thread, the traffic in another."""

    def __init__(
        self,
        bundle: Path,
        port: int,
        rate: float,
        duration_s: float | None,
        console: Console,
        credentials: Credentials = NONE,
    ) -> None:
        self._bundle = bundle
        self._credentials = credentials
        self._url = ""
        self._port = port
        self._rate = rate
        self._duration_s = duration_s
        self._console = console
        self._agrees = True

    def run(self) -> bool:
        """Runs the demo to its end; returns True if everything that clients received was counted."""
        app = self._build_app()
        if app.state.parts.access.keys is not None and not self._credentials.key:
            raise SettingsError("SIGHTLINE_API_KEYS is set, so the demo needs a key too: name its file by --key-file")
        self._url = f"{'http' if app.certificate is None else 'https'}://127.0.0.1:{self._port}"
        self._console.log("reading the flights of July to December")
        mix = Mix(self._rate, DUMMIES_PER_S, DUMMY, TRACED_SHARE)
        traffic = Traffic(self._url, FlightStream(), mix, credentials=self._credentials)
        server = _Server(ServerConfig(app, "127.0.0.1", self._port, log_level="warning"), traffic)
        replaying = Thread(target=self._replay, args=(server, traffic), daemon=True)
        replaying.start()
        server.run()
        replaying.join(timeout=20)
        return self._agrees

    def _build_app(self) -> BypassApp:
        settings: dict[str, Any] = {
            "bundle": self._bundle,
            "host": "127.0.0.1",
            "random_endpoint": True,
            "trace_ring": True,
            "request_log": False,
        }
        try:
            return create_app(**settings)
        except BundleError as error:
            self._console.log(f"training, because {error}")
        train(self._bundle, self._console.log)
        return create_app(**settings)

    def _replay(self, server: uvicorn.Server, traffic: Traffic) -> None:
        while not (server.started or server.should_exit):
            sleep(0.05)
        if not server.started:
            return
        try:
            with httpx.Client(base_url=self._url, timeout=30, **self._credentials.client_options()) as client:
                self._print_where_to_look()
                _, labels_before = counted(scraped_samples(client))
                shown = run_shown(
                    traffic, self._duration_s, self._console, lambda _: f"{traffic.flights.now:%d %B %H:%M}"
                )
                asyncio.run(shown)
                self._summarise(client, traffic, labels_before)
        finally:
            server.should_exit = True

    def _print_where_to_look(self) -> None:
        self._console.print("\nserving, and replaying the flights of July to December; look at")
        for path, description in _LOOK_AT:
            self._console.print(f"  {self._url}{path}", soft_wrap=True, highlight=False)
            self._console.print(f"      {description}", soft_wrap=True, highlight=False)
        self._console.print("Ctrl-C ends the demo with a summary.\n" if self._duration_s is None else "")

    def _summarise(self, client: httpx.Client, traffic: Traffic, labels_before: Counter[str]) -> None:
        tally, answered = traffic.tally, traffic.arrivals.answered
        samples = scraped_samples(client)
        rows, labels = counted(samples)
        labels -= labels_before
        self._agrees = labels >= answered and rows >= tally.received
        self._console.print(f"{tally.statuses.total():,} requests, up to {traffic.flights.now:%d %B %Y %H:%M}")
        title = "received by clients, counted by the service"
        table = Table("model", "outcome", "received", "counted", "", title=title)
        self._console.print(comparison(table, tally.received, rows))
        table = Table("label", "answered", "counted", "", title="labels sent back, late, some twice, some wrong")
        self._console.print(comparison(table, answered, labels))
        self._console.print(draw_slowest(client, samples), highlight=False, soft_wrap=True, markup=False)
