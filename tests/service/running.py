"""A service under test: a real uvicorn on a free port of loopback, in a thread of the test's process."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import httpx2 as httpx
import uvicorn
from fastapi import FastAPI

from service.app import Parts, create_app
from service.deployment import scrape
from service.http import ShortHttpProtocol
from service.routes.hot import HotApp


@dataclass(frozen=True)
class Running:
    """A client of the running service, and its parts."""

    client: httpx.Client
    app: HotApp
    port: int

    @property
    def parts(self) -> Parts:
        """What it is made of."""
        parts: Parts = self.app.state.parts
        return parts

    def predict(self, instances: list[dict[str, Any]], **options: Any) -> httpx.Response:
        """Posts rows to `/predict/model`."""
        return self.client.post("/predict/model", json={"instances": instances}, **options)

    def post_whole(self, body: bytes) -> httpx.Response:
        """Posts to `/predict/model`, head and body in one piece: only then is the short way sure to be taken."""
        head = "POST /predict/model HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            with HTTPResponse(connection) as answer:
                answer.begin()
                return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def samples(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """The samples of `/metrics` with this name, by their labels."""
        samples = (sample for family in scrape(self.client) for sample in family.samples)
        return {frozenset(sample.labels.items()): sample.value for sample in samples if sample.name == name}

    def errors(self, model: str = "small") -> dict[str, int]:
        """Requests without a prediction, by reason, as `/metrics` tells."""
        labelled = [(dict(labels), value) for labels, value in self.samples("ml_prediction_errors_total").items()]
        return {labels["reason"]: int(value) for labels, value in labelled if labels["model_name"] == model}


@contextmanager
def running(
    bundle: Path, change: Callable[[FastAPI], None] | None = None, keep_alive_s: int = 5, **settings: Any
) -> Iterator[Running]:
    """Serves a bundle, with the dummy model and the trace ring unless settings say otherwise.

    change: done to the app before it starts. keep_alive_s: how long a connection may be idle.
    """
    app = create_app(
        **{"bundle": bundle, "random_endpoint": True, "trace_ring": True, "request_log": False, **settings}
    )
    if change is not None:
        change(app)
    options: dict[str, Any] = {"log_level": "error", "access_log": False, "reset_contextvars": True}
    options["timeout_keep_alive"] = keep_alive_s
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, http=ShortHttpProtocol, **options))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service ended before it was ready"
        sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Running(client, app, port)
    finally:
        server.should_exit = True
        thread.join(timeout=15)
