"""`sightline demo`: trains if there is no bundle, serves, replays flights, and prints what to look at."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from time import sleep

import httpx2 as httpx
import uvicorn
from fastapi import FastAPI
from rich.console import Console

from sightline_service.app import create_app
from sightline_service.demo.replay import Replay
from sightline_service.demo.stream import FlightStream
from sightline_service.demo.summary import comparison, counted, draw_slowest, label_comparison, labels_counted
from sightline_service.demo.training import train
from sightline_service.diagnostics.clients import scraped_samples
from sightline_service.errors import BundleError
from sightline_service.server.options import server_options

_READY_S = 60
_LOOK_AT = (
    ("/docs", "the API, with an example that works as it stands"),
    ("/metrics", "everything that is counted; in OpenMetrics with exemplars"),
    ("/traces/{trace_id}", "a kept trace as OTLP/JSON; ids are in every response and exemplar"),
    ("/predict/random?time_delay_scale=1&error_rate=0.2", "make a spike or an error of your own"),
)


class Demo:
    """One run of the demo in one process: the service in the main thread, the replay in another."""

    def __init__(self, bundle: Path, port: int, rate: float, duration_s: float | None, console: Console) -> None:
        self._bundle = bundle
        self._url = f"http://127.0.0.1:{port}"
        self._port = port
        self._rate = rate
        self._duration_s = duration_s
        self._console = console
        self._agrees = True

    def run(self) -> bool:
        """Runs the demo to its end; returns True if everything that clients received was counted."""
        options = server_options("127.0.0.1", self._port, log_level="warning")
        server = uvicorn.Server(uvicorn.Config(self._build_app(), **options))
        self._console.log("reading the flights of July to December")
        replay = Replay(self._url, self._rate, FlightStream())
        replaying = Thread(target=self._replay, args=(server, replay), daemon=True)
        replaying.start()
        server.run()
        replay.stop()
        replaying.join(timeout=20)
        return self._agrees

    def _build_app(self) -> FastAPI:
        try:
            return create_app(bundle=self._bundle, random_endpoint=True, trace_ring=True, request_log=False)
        except BundleError as error:
            self._console.log(f"training, because {error}")
        train(self._bundle, self._console.log)
        return create_app(bundle=self._bundle, random_endpoint=True, trace_ring=True, request_log=False)

    def _replay(self, server: uvicorn.Server, replay: Replay) -> None:
        try:
            with httpx.Client(base_url=self._url, timeout=30) as client:
                _wait_until_ready(client, server)
                self._print_where_to_look()
                labels_before = labels_counted(scraped_samples(client))
                with self._console.status("") as status:
                    ticking = Thread(target=_tick, args=(status.update, replay, server), daemon=True)
                    ticking.start()
                    replay.run(self._duration_s)
                if not server.should_exit:
                    self._summarise(client, replay, labels_before)
        finally:
            server.should_exit = True

    def _print_where_to_look(self) -> None:
        self._console.print("\nserving, and replaying the flights of July to December; look at")
        for path, description in _LOOK_AT:
            self._console.print(f"  {self._url}{path}", soft_wrap=True, highlight=False)
            self._console.print(f"      {description}", soft_wrap=True, highlight=False)
        self._console.print("Ctrl-C ends the demo with a summary.\n" if self._duration_s is None else "")

    def _summarise(self, client: httpx.Client, replay: Replay, labels_before: Counter[str]) -> None:
        samples = scraped_samples(client)
        counts = counted(samples)
        labels = labels_counted(samples) - labels_before
        self._agrees = labels >= replay.arrivals.answered and counts >= replay.received
        self._console.print(f"{replay.n_requests:,} requests, up to {replay.stream.now:%d %B %Y %H:%M}")
        self._console.print(comparison(replay.received, counts))
        self._console.print(label_comparison(replay.arrivals.answered, labels))
        self._console.print(draw_slowest(client, samples), highlight=False, soft_wrap=True, markup=False)


def _wait_until_ready(client: httpx.Client, server: uvicorn.Server) -> None:
    for _ in range(_READY_S * 20):
        if server.should_exit:
            return
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        sleep(0.05)
    raise TimeoutError(f"the service was not ready within {_READY_S} s")


def _tick(show: Callable[[str], None], replay: Replay, server: uvicorn.Server) -> None:
    while not server.should_exit:
        show(f"{replay.stream.now:%d %B %H:%M}   {replay.n_requests:,} requests   {replay.received.total():,} rows")
        sleep(0.5)
