"""The whole way: real requests, the real collector (killed in the middle), Prometheus, and a trace store."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from prometheus.selectors import NO_TRAFFIC
from sightline_service.demo.stream import FlightStream
from sightline_service.diagnostics.clients import Prometheus, StoredExemplar, StoredSpan, TraceStore
from tests.stack.polling import poll_until
from tests.stack.processes import Process, Stack, free_port, service_process
from tests.stack.traffic import Account, Traffic

pytestmark = pytest.mark.stack

N_REQUESTS = 1500
SLOW_S = 0.5
CLIENT_CLOCK_S = 0.05
"""A client sees a request last this much longer than the server does, at most."""
ARRIVES_S = 30.0
EMPTY_SPAN_NS = 1
"""A request that does not wait has an empty `queue`, and Jaeger shows an empty span as a nanosecond long."""
DURATIONS = "http_server_request_duration_seconds_bucket"
STEPS = {"/predict/model": {"preprocess", "classify"}, "/predict/random": {"delay"}}


@dataclass
class Driven:
    """The stack after the traffic: what clients account for, and whom to ask."""

    account: Account
    prometheus: Prometheus
    traces: TraceStore
    service: Process
    started_s: float

    def exemplars(self) -> list[StoredExemplar]:
        """Every exemplar of request durations that Prometheus returns."""
        return self.prometheus.exemplars(DURATIONS, self.started_s, time.time())

    def counts(self, promql: str, *labels: str) -> dict[tuple[str, ...], int]:
        """The non-zero results of a query, by some of their labels."""
        samples = self.prometheus.query(promql)
        return {tuple(s.labels[label] for label in labels): int(s.value) for s in samples if s.value}


@pytest.fixture(scope="module")
def driven(stack: Stack, flights_bundle: Path) -> Iterator[Driven]:
    """1,500 requests from 8 clients, with the collector killed and started again in the middle."""
    port, started_s = free_port(), time.time()
    with (
        service_process(stack, flights_bundle, port) as service,
        Prometheus(stack.prometheus_url) as prometheus,
        TraceStore(stack.traces_url) as traces,
    ):
        traffic = Traffic(f"http://127.0.0.1:{port}", FlightStream().take(2000), N_REQUESTS, SLOW_S + CLIENT_CLOCK_S)
        send_with_an_outage(traffic, stack.collector)
        rows = traffic.account.outcomes.total()
        poll_until(lambda: prometheus.value("sum(ml_predictions_total)") == rows, ARRIVES_S)
        time.sleep(3)  # one more export of metrics and of spans: what came with the last rows has arrived, too
        yield Driven(traffic.account, prometheus, traces, service, started_s)


def test_predictions_equal_what_clients_received(driven: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """`ml_predictions_total` in Prometheus equals the rows in the clients' responses, outcome by outcome."""
    counted = driven.counts("sum by (model_name, outcome) (ml_predictions_total)", "model_name", "outcome")
    assert counted == dict(driven.account.outcomes)
    with capsys.disabled():
        print(f"\n  {driven.account.n_requests} requests, {sum(counted.values())} rows, in Prometheus: {counted}")


def test_categories_equal_what_was_sent(driven: Driven) -> None:
    """Every category, `__unseen__` and `__missing__` among them, was counted as often as it was sent."""
    counted = driven.counts("sum by (feature, category) (ml_feature_categories_total)", "feature", "category")
    assert counted == {key: count for key, count in driven.account.categories.items() if count}
    assert counted["dest", "__unseen__"] > 0


def test_missing_and_imputed_equal_what_was_sent(driven: Driven) -> None:
    """Each null was counted once as missing and, since every feature has an imputer, once as imputed."""
    sent = {(feature,): count for feature, count in driven.account.missing.items() if count}
    assert driven.counts("sum by (feature) (ml_feature_missing_total)", "feature") == sent
    assert driven.counts("sum by (feature) (ml_feature_imputed_total)", "feature") == sent
    assert sent["wind_gust",] > 1000


def test_values_equal_what_was_sent(driven: Driven) -> None:
    """Each numeric value that was there is in its feature's histogram."""
    sent = {(feature,): count for feature, count in driven.account.values.items()}
    assert driven.counts('sum by (feature) (ml_feature_value_bucket{le="+Inf"})', "feature") == sent


def test_errors_equal_what_clients_saw(driven: Driven) -> None:
    """Refused and failed requests were counted by reason."""
    counted = driven.counts("sum by (model_name, reason) (ml_prediction_errors_total)", "model_name", "reason")
    assert counted == {
        ("flights", "rejected"): driven.account.rejected,
        ("random", "failed"): len(driven.account.failed),
    }


def test_the_process_is_measured(driven: Driven) -> None:
    """CPU, memory and threads of the process arrive under their standard names."""
    assert driven.prometheus.value("sum(process_cpu_time_seconds_total)") > 1
    assert driven.prometheus.value("process_memory_usage_bytes") > 50e6
    assert driven.prometheus.value("process_thread_count") >= 3


def test_exemplars_resolve(driven: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """Every exemplar that Prometheus returns leads to a trace, and predictions' traces are whole and add up."""
    exemplars = driven.exemplars()
    whole = 0
    for exemplar in exemplars:
        spans = poll_until(lambda e=exemplar: driven.traces.trace(e.trace_id), ARRIVES_S)  # type: ignore[misc]
        route, status = exemplar.labels.get("http_route", ""), exemplar.labels["http_response_status_code"]
        if route in STEPS and status in ("200", "500"):
            assert_adds_up(spans, STEPS[route])
            whole += 1
    assert whole >= 10
    with capsys.disabled():
        print(f"\n  {len(exemplars)} exemplars of {len(exemplars)} resolve; {whole} are predictions, whole traces")


def test_every_bucket_that_grew_has_an_exemplar(driven: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """Each latency bucket of each series that holds a request shows a trace, but for health checks and scrapes."""
    exemplars = driven.exemplars()
    grown = grown_buckets(driven.prometheus)
    bare = [
        (labels, low, high)
        for labels, low, high in grown
        if not (labels["http_route"] and re.fullmatch(NO_TRAFFIC, labels["http_route"]))
        and not any(low < e.value <= high and labels.items() <= e.labels.items() for e in exemplars)
    ]
    assert not bare
    with capsys.disabled():
        print(f"\n  {len(grown)} latency buckets grew, each has an exemplar")


def test_slow_failed_and_asked_requests_have_traces(driven: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request over 0.5 s, every failed one and every one whose caller traces it has a trace."""
    account = driven.account
    for trace_id in {*account.slow, *account.failed, *account.asked}:
        assert poll_until(lambda t=trace_id: driven.traces.trace(t), ARRIVES_S)  # type: ignore[misc]
    assert min(len(account.slow), len(account.failed), len(account.asked)) >= 5
    with capsys.disabled():
        kinds = {"slow": len(account.slow), "failed": len(account.failed), "asked": len(account.asked)}
        kept = driven.counts("sum by (reason) (sightline_traces_kept_total)", "reason")
        print(f"\n  traces found: {kinds}; kept: {kept}")


def send_with_an_outage(traffic: Traffic, collector: Process) -> None:
    """Runs the traffic; the collector is killed when half of it is answered, and comes back 1.5 s later."""
    with ThreadPoolExecutor(1) as runner:
        running = runner.submit(traffic.run)
        traffic.halfway.wait(60)
        collector.kill()
        time.sleep(1.5)
        collector.start()
        running.result()
    assert traffic.account.n_requests == N_REQUESTS


def grown_buckets(prometheus: Prometheus) -> list[tuple[dict[str, str], float, float]]:
    """Labels, lower and upper bound of every latency bucket that holds a request."""
    series: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    for sample in prometheus.query(DURATIONS):
        key = frozenset((name, value) for name, value in sample.labels.items() if name not in ("le", "__name__"))
        series.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
    grown = []
    for labels, buckets in series.items():
        for (low, below), (high, count) in pairwise([(0.0, 0.0), *sorted(buckets)]):
            if count > below:
                grown.append((dict(labels), low, high))
    return grown


def assert_adds_up(spans: list[StoredSpan], steps: set[str]) -> None:
    """A trace has server, queue, predict and step spans; each lies within its parent, one after the other."""
    by_name = {span.name: span for span in spans}
    (server,) = [span for span in spans if "http.route" in span.attributes]
    queue, predict = by_name["queue"], by_name["predict"]
    inner = sorted((span for span in spans if span.parent_id == predict.span_id), key=lambda span: span.start_ns)
    assert {span.name for span in inner} == steps
    assert queue.parent_id == predict.parent_id == server.span_id
    assert server.start_ns <= queue.start_ns <= queue.end_ns <= predict.start_ns + EMPTY_SPAN_NS
    assert predict.end_ns <= server.end_ns
    assert predict.start_ns <= inner[0].start_ns
    assert inner[-1].end_ns <= predict.end_ns + EMPTY_SPAN_NS
    assert all(before.end_ns <= after.start_ns + EMPTY_SPAN_NS for before, after in pairwise(inner))
