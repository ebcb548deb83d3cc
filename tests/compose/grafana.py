"""Reads from Grafana its data sources, its dashboards and their queries: `python -m tests.compose.grafana URL SERVICE`.

Labels and failures are sent to the service meanwhile. Everything is asked through Grafana, with the rights of a visitor
who has not logged in. Exit code 1 if anything is amiss; what is missing is printed.
"""

import sys
from collections.abc import Callable, Iterator
from threading import Event, Thread

import httpx2 as httpx

from grafana.queries import DashboardQuery, as_json
from grafana.write import DASHBOARDS
from sightline_service.diagnostics.clients import Prometheus
from tests.grafana.answers import VALUES, asked, n_series, n_traces
from tests.grafana.labelled import send_labelled
from tests.stack.polling import poll_until

PATIENCE_S = 180.0
"""Drift is judged from a few hundred rows on, every half minute."""
SOURCES = ("prometheus", "tempo")


def findings(url: str) -> Iterator[tuple[str, bool]]:
    """What was asked, and whether the answer was as it should be."""
    with (
        httpx.Client(base_url=url, timeout=20) as client,
        Prometheus(f"{url}{_proxy('prometheus')}") as prometheus,
        httpx.Client(base_url=f"{url}{_proxy('tempo')}", timeout=20) as tempo,
    ):
        for uid in SOURCES:
            yield f"data source {uid} is healthy", _soon(lambda u=uid: _is_healthy(client, u))  # type: ignore[misc]
        for build in DASHBOARDS.values():
            model = as_json(build())
            yield f"dashboard {model['title']} is there", _soon(lambda m=model: _has(client, m["uid"], m["title"]))  # type: ignore[misc]
        for query in asked():
            answer = _ask_prometheus(prometheus, query) if query.language == "promql" else _ask_tempo(tempo, query)
            yield f"{query.dashboard} / {query.panel}: {query.substituted(VALUES)}", _soon(answer)


def main() -> None:
    """Prints a line for each finding."""
    url, service_url = (argument.rstrip("/") for argument in sys.argv[1:])
    is_over, is_well = Event(), True
    sending = Thread(target=send_labelled, args=(service_url, is_over))
    sending.start()
    try:
        for what, is_so in findings(url):
            print("ok      " if is_so else "MISSING ", what, flush=True)
            is_well = is_well and is_so
    finally:
        is_over.set()
        sending.join()
    if not is_well:
        raise SystemExit(1)


def _proxy(uid: str) -> str:
    return f"/api/datasources/proxy/uid/{uid}"


def _is_healthy(client: httpx.Client, uid: str) -> bool:
    response = client.get(f"/api/datasources/uid/{uid}/health")
    return response.is_success and response.json()["status"] == "OK"


def _has(client: httpx.Client, uid: str, title: str) -> bool:
    response = client.get(f"/api/dashboards/uid/{uid}")
    return response.is_success and response.json()["dashboard"]["title"] == title


def _ask_prometheus(prometheus: Prometheus, query: DashboardQuery) -> Callable[[], bool]:
    return lambda: n_series(prometheus, query) > 0


def _ask_tempo(tempo: httpx.Client, query: DashboardQuery) -> Callable[[], bool]:
    return lambda: n_traces(tempo, query) > 0


def _soon(answer: Callable[[], bool]) -> bool:
    try:
        return poll_until(answer, PATIENCE_S, 1.0)
    except TimeoutError:
        return False


if __name__ == "__main__":
    main()
