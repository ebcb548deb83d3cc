"""Every query of every dashboard, against the real Prometheus behind the real collector."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from grafana.queries import Asked
from service.demo.stream import FlightStream
from service.deployment import Prometheus, StoredExemplar, TraceStore
from tests.grafana.answers import VALUES, asked, n_series
from tests.stack.polling import poll_until
from tests.stack.processes import Stack, free_port, service_process
from tests.stack.traffic import Traffic

pytestmark = pytest.mark.stack

PROMQL = [query for query in asked() if query.language == "promql"]
ANSWERED_S = 45.0


@pytest.fixture(scope="module")
def prometheus(stack: Stack, flights_bundle: Path) -> Iterator[Prometheus]:
    """Prometheus while a service runs and mixed traffic goes on."""
    port = free_port()
    with service_process(stack, flights_bundle, port), Prometheus(stack.prometheus_url) as prometheus:
        traffic = Traffic(f"http://127.0.0.1:{port}", FlightStream().take(2000), 4000, 0.5)
        sending = Thread(target=traffic.run)
        sending.start()
        traffic.halfway.wait(60)
        yield prometheus
        sending.join(120)


def test_every_query_of_every_panel_returns_data(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    """No panel, variable or annotation stays empty; the list is printed."""
    answers = {query: poll_until(lambda q=query: n_series(prometheus, q), ANSWERED_S) for query in PROMQL}  # type: ignore[misc]
    with capsys.disabled():
        print()
        for query, n in answers.items():
            print(f"  {n:4d} series  {query.dashboard} / {query.panel}: {query.substituted(VALUES)}")


@pytest.mark.parametrize("query", [q for q in PROMQL if q.has_exemplars], ids=lambda q: f"{q.dashboard}-{q.panel}")
def test_every_dot_leads_to_its_trace(stack: Stack, prometheus: Prometheus, query: Asked) -> None:
    """A panel gets its exemplars as Grafana asks for them, by the panel's own expression; each trace is stored.

    On a panel of errors each is a failed request's.
    """
    dots = poll_until(lambda: _dots(prometheus, query), ANSWERED_S)
    with TraceStore(stack.traces_url) as store:
        for dot in dots[:50]:
            spans = poll_until(lambda t=dot.trace_id: store.trace(t), ANSWERED_S)  # type: ignore[misc]
            (server,) = [span for span in spans if "http.route" in span.attributes]
            assert server.attributes["http.route"] == dot.labels["http_route"]
            assert ("Errors" not in query.panel) or server.attributes["http.response.status_code"].startswith("5")


def _dots(prometheus: Prometheus, query: Asked) -> list[StoredExemplar]:
    return prometheus.exemplars(query.substituted(VALUES), time.time() - 600, time.time())
