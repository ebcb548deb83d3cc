"""A service under test: a real uvicorn on a free port of loopback, in a thread of the test's process."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import httpx2 as httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from sightline_service.app import Parts, create_app
from sightline_service.server.asgi_bypass import BypassApp
from sightline_service.server.options import server_options
from sightline_service.telemetry import Contrib, TailSampled
from sightline_telemetry.observer.observer import Observer

# Nothing here speaks TLS, and the context that a client makes otherwise reads all certificates of the machine.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Running:
    """Holds a client of the running service, and its parts."""

    client: httpx.Client
    app: BypassApp
    server: uvicorn.Server
    port: int

    @property
    def parts(self) -> Parts:
        """Returns the parts of the service."""
        parts: Parts = self.app.state.parts
        return parts

    @property
    def observer(self) -> Observer:
        """The observer in the process of the service."""
        telemetry = self.parts.telemetry
        assert isinstance(telemetry, TailSampled | Contrib), "the telemetry is switched off"
        return telemetry.process.observer

    def predict(self, instances: list[dict[str, Any]], **options: Any) -> httpx.Response:
        """Posts rows to `/predict/model`."""
        return self.client.post("/predict/model", json={"instances": instances}, **options)

    def post(self, body: bytes) -> httpx.Response:
        """Posts a body to `/predict/model`."""
        return self.client.post("/predict/model", content=body, headers={"content-type": "application/json"})

    def post_alone(self, body: bytes) -> httpx.Response:
        """Posts a body over a connection of its own, which the server closes after a failure."""
        url = f"http://127.0.0.1:{self.port}/predict/model"
        return httpx.post(url, content=body, headers={"content-type": "application/json"}, verify=NO_TLS)

    def samples(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Returns the samples of `/metrics` with this name, by their labels.

        Only their lines are parsed: parsing a whole scrape takes longer than most tests.
        """
        text = self.client.get("/metrics").raise_for_status().text
        lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        families = text_string_to_metric_families("\n".join([*lines, ""]))
        return {frozenset(each.labels.items()): each.value for family in families for each in family.samples}

    def errors(self, model: str = "small") -> dict[str, int]:
        """Returns the requests without a prediction, by reason, from `/metrics`."""
        labelled = [(dict(labels), value) for labels, value in self.samples("ml_prediction_errors_total").items()]
        return {labels["reason"]: int(value) for labels, value in labelled if labels["model_name"] == model}


@contextmanager
def running(bundle: Path, change: Callable[[FastAPI], None] | None = None, **settings: Any) -> Iterator[Running]:
    """Serves a bundle, with the dummy model and the trace ring unless settings say otherwise.

    change: done to the app before it starts.
    """
    app = create_app(
        **{"bundle": bundle, "random_endpoint": True, "trace_ring": True, "request_log": False, **settings}
    )
    if change is not None:
        change(app)
    options = server_options("127.0.0.1", 0, log_level="error")
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service ended before it was ready"
        sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_TLS) as client:
            yield Running(client, app, server, port)
    finally:
        server.should_exit = True
        thread.join(timeout=15)
