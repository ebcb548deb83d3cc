"""With server spans of OpenTelemetry's own instrumentation the service has the same answers, counts and exemplars."""

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from sightline_service.app import create_app
from sightline_service.diagnostics.clients import scrape
from sightline_service.errors import SettingsError
from tests.service.running import Running, running
from tests.telemetry.sink import Sink

GOOD = {"age": 40.0, "income": 1000.0, "city": "Bern", "plan": "free"}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SERVER = 2
DURATIONS = "http_server_request_duration_seconds"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restores the environment, because the conventions of the instrumentation are chosen there."""
    with patch.dict(os.environ):
        yield


def spans(service: Running, trace_id: str) -> list[dict[str, Any]]:
    """Returns the spans of a trace in the ring, each with the name of its scope."""
    traces = service.client.get(f"/traces/{trace_id}").raise_for_status().json()
    scopes = (scope for resource in traces["resourceSpans"] for scope in resource["scopeSpans"])
    return [{**span, "scope": scope["scope"]["name"]} for scope in scopes for span in scope["spans"]]


def test_a_prediction_is_one_trace(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One server span, the instrumentation's, is above wait, prediction and steps; response and log name it."""
    with running(small_bundle, http_tracing="contrib", request_log=True) as service:
        answer = service.predict([GOOD], headers={"traceparent": CALLER})
        found = spans(service, answer.json()["trace_id"])
    by_name = {span["name"]: span for span in found}
    (server,) = [span for span in found if span["kind"] == SERVER]
    assert (server["name"], server["scope"]) == ("POST /predict/model", "opentelemetry.instrumentation.fastapi")
    assert answer.headers["traceresponse"] == f"00-{server['traceId']}-{server['spanId']}-01"
    assert (answer.json()["trace_id"], server["parentSpanId"]) == (CALLER[3:35], CALLER[36:52])
    assert len(found) == len(by_name) == 5
    parents = {name: span["parentSpanId"] for name, span in by_name.items()}
    assert parents["queue"] == parents["predict"] == server["spanId"]
    assert parents["preprocess"] == parents["classify"] == by_name["predict"]["spanId"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (logged,) = [line for line in lines if line["message"] == "POST /predict/model 200"]
    assert (logged["trace_id"], logged["span_id"]) == (server["traceId"], server["spanId"])
    assert logged["trace_kept_because"] == "asked"


def test_pipelined_requests_have_traces_of_their_own(small_bundle: Path) -> None:
    """A request that was sent before the answer to the previous one is in its own caller's trace."""
    body = json.dumps({"instances": [GOOD]}).encode()
    head = "POST /predict/model HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: "
    first = f"{head}{len(body)}\r\n\r\n".encode() + body
    second = f"{head}{len(body)}\r\ntraceparent: {CALLER}\r\nconnection: close\r\n\r\n".encode() + body
    with running(small_bundle, http_tracing="contrib") as service:
        with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
            connection.sendall(first + second)
            answers = connection.makefile("rb").read()
        ids = re.findall(rb'"trace_id":"([0-9a-f]{32})"', answers)
        assert len(ids) == 2
        assert ids[1].decode() == CALLER[3:35] != ids[0].decode()
        (server,) = [span for span in spans(service, CALLER[3:35]) if span["kind"] == SERVER]
        assert server["parentSpanId"] == CALLER[36:52]


def test_every_request_is_counted_once_and_every_dot_resolves(small_bundle: Path) -> None:
    """Durations count each request once, kept traces are the sampled ones, and each exemplar's trace can be read."""
    paths = ["/livez", "/nope", "/predict/random?error_rate=1", "/predict/random"]
    with running(small_bundle, http_tracing="contrib") as service:
        for path in paths:
            service.client.get(path)
        for rows in ([GOOD], [GOOD], [{**GOOD, "age": "old"}]):
            assert service.predict(rows).status_code in (200, 422)
        families = scrape(service.client)
        samples = [sample for family in families for sample in family.samples]
        counts = {
            (sample.labels["http_route"], sample.labels["http_response_status_code"]): sample.value
            for sample in samples
            if sample.name == f"{DURATIONS}_count" and sample.value
        }
        (kept,) = [s for s in samples if s.name == "sightline_traces_kept_total" and s.labels["reason"] == "asked"]
        dots = [sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar]
        found = [spans(service, trace_id) for trace_id in dots]
    assert counts == {
        ("/livez", "200"): 1,
        ("", ""): 1,
        ("/predict/random", "500"): 1,
        ("/predict/random", "200"): 1,
        ("/predict/model", "200"): 2,
        ("/predict/model", "422"): 1,
    }
    assert kept.value == sum(counts.values())
    assert len(dots) >= len(counts) - 1  # a probe has none
    assert [[span["kind"] for span in trace].count(SERVER) for trace in found] == [1] * len(dots)


@pytest.mark.parametrize(("sampler", "flags"), [("always_off", "02"), ("parentbased_always_on", "03")])
def test_the_sampler_is_the_sdks(small_bundle: Path, sampler: str, flags: str) -> None:
    """OTEL_TRACES_SAMPLER decides which requests are sampled; the others have ids, but no trace and no exemplar."""
    os.environ["OTEL_TRACES_SAMPLER"] = sampler
    with running(small_bundle, http_tracing="contrib") as service:
        answer = service.predict([GOOD])
        has_trace = service.client.get(f"/traces/{answer.json()['trace_id']}").status_code == 200
        dots = [sample for family in scrape(service.client) for sample in family.samples if sample.exemplar]
    assert answer.headers["traceresponse"].split("-")[1::2] == [answer.json()["trace_id"], flags]
    assert (has_trace, bool(dots)) == (flags == "03", flags == "03")


def test_their_metrics_go_nowhere(small_bundle: Path, sink: Sink) -> None:
    """The OTLP export has request durations of our scope alone, and spans of both scopes with one resource."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sink.url
    with running(small_bundle, http_tracing="contrib", trace_ring=False) as service:
        assert service.predict([GOOD]).status_code == 200
    (resource,) = sink.metrics[-1].resource_metrics
    named = [(metric.name, scope.scope.name) for scope in resource.scope_metrics for metric in scope.metrics]
    assert [pair for pair in named if pair[0].startswith("http.")] == [
        ("http.server.active_requests", "sightline"),
        ("http.server.request.duration", "sightline.histograms"),
    ]
    traces = [resource for request in sink.traces for resource in request.resource_spans]
    scopes = {scope.scope.name: len(scope.spans) for resource in traces for scope in resource.scope_spans}
    assert scopes == {"sightline": 4, "opentelemetry.instrumentation.fastapi": 1}
    assert all(found.resource == resource.resource for found in traces)


def test_another_word_stops_startup(small_bundle: Path) -> None:
    """Another value of the setting is refused; the error names the two that exist."""
    with pytest.raises(SettingsError, match="SIGHTLINE_HTTP_TRACING='none': Input should be 'sightline' or 'contrib'"):
        create_app(bundle=small_bundle, http_tracing="none")
