"""Every query of every dashboard, against the real Prometheus behind the real collector."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import httpx2 as httpx
import pytest

from grafana.queries import DashboardQuery
from sightline_service.demo.stream import FlightStream
from sightline_service.diagnostics.clients import Prometheus, StoredExemplar, TraceStore
from tests.grafana.answers import VALUES, asked, n_series, n_traces
from tests.grafana.labelled import send_labelled
from tests.stack.polling import poll_until
from tests.stack.processes import Stack, free_port, service_process
from tests.stack.traffic import Traffic

pytestmark = pytest.mark.stack

PROMQL = [query for query in asked() if query.language == "promql"]
TRACEQL = [query for query in asked() if query.language == "traceql"]
ANSWERED_S = 120.0
"""Rules are evaluated every half minute, and one leans on what another recorded."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose rules judge over two minutes."""
    with Stack(tmp_path_factory.mktemp("stack"), window="2m") as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(stack: Stack, flights_bundle: Path) -> Iterator[Prometheus]:
    """Prometheus while a service runs, mixed traffic goes on, and labels come back."""
    port = free_port()
    with service_process(stack, flights_bundle, port), Prometheus(stack.prometheus_url) as prometheus:
        url = f"http://127.0.0.1:{port}"
        traffic = Traffic(url, FlightStream().take(2000), 4000, 0.5)
        is_over = Event()
        sending, labelling = Thread(target=traffic.run), Thread(target=send_labelled, args=(url, is_over))
        sending.start()
        labelling.start()
        traffic.halfway.wait(60)
        yield prometheus
        is_over.set()
        labelling.join(30)
        sending.join(120)


def test_every_query_of_every_panel_returns_data(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    """No panel, variable or annotation stays empty; the list is printed."""
    answers = {query: poll_until(lambda q=query: n_series(prometheus, q), ANSWERED_S) for query in PROMQL}  # type: ignore[misc]
    with capsys.disabled():
        print()
        for query, n in answers.items():
            print(f"  {n:4d} series  {query.dashboard} / {query.panel}: {query.substituted(VALUES)}")


@pytest.mark.usefixtures("prometheus")
def test_every_search_for_traces_finds_some(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Each TraceQL query of the dashboards finds traces; the list is printed."""
    if not stack.has_tempo:
        pytest.skip("the trace store is Jaeger, which speaks no TraceQL")
    with httpx.Client(base_url=stack.traces_url, timeout=20) as tempo:
        answers = {q: poll_until(lambda q=q: n_traces(tempo, q), ANSWERED_S) for q in TRACEQL}  # type: ignore[misc]
    with capsys.disabled():
        print()
        for query, n in answers.items():
            print(f"  {n:4d} traces  {query.dashboard} / {query.panel}: {query.substituted(VALUES)}")


@pytest.mark.parametrize("query", [q for q in PROMQL if q.has_exemplars], ids=lambda q: f"{q.dashboard}-{q.panel}")
def test_every_dot_leads_to_its_trace(stack: Stack, prometheus: Prometheus, query: DashboardQuery) -> None:
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


def _dots(prometheus: Prometheus, query: DashboardQuery) -> list[StoredExemplar]:
    return prometheus.exemplars(query.substituted(VALUES), time.time() - 600, time.time())
