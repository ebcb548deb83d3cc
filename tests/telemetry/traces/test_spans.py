"""Tests that a kept request becomes spans with the right parents and times, which OpenTelemetry's encoder accepts."""

from dataclasses import replace

import numpy as np
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.fold import request_kind
from sightline_telemetry.events.layout import HAS_CALLER, NO_ROUTE, RequestEvent, Texts, read_request
from sightline_telemetry.testing import SpansInMemory
from sightline_telemetry.traces.spans import MAX_ATTRIBUTE_CHARS, MAX_SEGMENTS, SpanWriter
from tests.telemetry.rows import encoded, random_rows
from tests.telemetry.serving import ENDED, START_NS, UNIX_NS, describe, written


def spans_of(event: RequestEvent, *models: DescribedModel) -> list[ReadableSpan]:
    """The spans of an ended request that was kept, the server span last."""
    memory, description, event = SpansInMemory(), describe(*models), read_request(written(event))
    writer = SpanWriter(Resource({"service.name": "s"}), (memory,), description)
    writer.write(event, request_kind(event, description.routes), "slow")
    return memory.spans


def called(flags: int, state: bytes = b"", status: int = 200) -> RequestEvent:
    """The event of a request with a caller of trace 7 and span 8."""
    texts = Texts(b"/", tracestate=state)
    return ENDED._replace(
        flags=HAS_CALLER, trace_lo=7, caller_span_id=8, caller_flags=flags, texts=texts, status=status
    )


def context(span: ReadableSpan) -> SpanContext:
    """The span's context, which is there."""
    found = span.get_span_context()
    assert found is not None
    return found


def attributes_of(event: RequestEvent) -> dict[str, object]:
    """The attributes of the server span."""
    return dict(spans_of(event)[-1].attributes or {})


def predicted(model: DescribedModel) -> RequestEvent:
    """The event of a request of five rows that waited 100 ns and was predicted in two steps."""
    rows, _ = random_rows(5)
    return ENDED._replace(
        model=0,
        n_rows=5,
        batch_rows=9,
        batch=77,
        queued_ns=START_NS + 100,
        marks=(START_NS + 200, START_NS + 300, START_NS + 500),
        texts=Texts(b"/", prediction_id=b"p-1"),
        rows=encoded(model, replace(rows, outcomes=np.array([1, 0, 1, 1, 1]))),
    )


def test_segments_are_children_in_their_times(model: DescribedModel) -> None:
    """Segments hang below the server span and below each other, with the times that were marked."""
    spans = {span.name: span for span in spans_of(predicted(model), model)}
    server = spans["GET /"]
    assert (server.kind, server.parent, server.start_time) == (SpanKind.SERVER, None, UNIX_NS)
    assert server.end_time == UNIX_NS + 10_000_000
    predict = context(spans["predict"]).span_id
    assert {name: s.parent.span_id if s.parent else 0 for name, s in spans.items()} == {
        "queue": ENDED.span_id,
        "prepare": predict,
        "classify": predict,
        "predict": ENDED.span_id,
        "GET /": 0,
    }
    assert {context(span).trace_id for span in spans.values()} == {ENDED.trace_id}
    times = {name: ((s.start_time or 0) - UNIX_NS, (s.end_time or 0) - UNIX_NS) for name, s in spans.items()}
    assert (times["queue"], times["predict"]) == ((100, 200), (200, 500))
    assert (times["prepare"], times["classify"]) == ((200, 300), (300, 500))
    assert dict(spans["predict"].attributes or {}) == {
        "model.name": "m",
        "model.version": "1",
        "ml.batch.id": 77,
        "ml.batch.size": 9,
        "ml.request.rows": 5,
        "ml.prediction.id": "p-1",
        "ml.outcome.no": 1,
        "ml.outcome.yes": 4,
    }
    assert len(encode_spans(list(spans.values())).resource_spans[0].scope_spans[0].spans) == 5


def test_a_regression_has_no_outcomes(regression_model: DescribedModel) -> None:
    """The span of a regression tells its batch and no outcome."""
    rows, _ = random_rows(2)
    values = replace(rows, outcomes=None, probabilities=None, values=np.array([1.0, 2.0]))
    event = ENDED._replace(
        model=0, n_rows=2, marks=(START_NS, START_NS, START_NS), rows=encoded(regression_model, values)
    )
    spans = {span.name: span for span in spans_of(event, regression_model)}
    assert set(spans) == {"queue", "predict", "prepare", "estimate", "GET /"}
    assert not [name for name in spans["predict"].attributes or {} if name.startswith("ml.outcome")]


def test_a_sampled_caller_is_the_parent() -> None:
    """A caller that records its span is the parent, remote, in the same trace."""
    (server,) = spans_of(called(1))
    assert server.parent is not None
    assert (server.parent.trace_id, server.parent.span_id, server.parent.is_remote) == (7, 8, True)
    assert not server.links


def test_a_caller_that_said_no_is_linked() -> None:
    """A caller without a span of its own is linked from a root span under the same trace id."""
    (server,) = spans_of(called(0, status=500))
    assert (server.parent, context(server).trace_id) == (None, 7)
    assert [(link.context.trace_id, link.context.span_id) for link in server.links] == [(7, 8)]
    assert server.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(("flags", "random"), [(0, 0), (2, 2), (3, 2)])
def test_a_kept_span_is_sampled_and_keeps_the_random_flag(flags: int, random: int) -> None:
    """Whatever the caller said, a kept span is sampled; the random flag is the caller's, or ours without one."""
    assert context(spans_of(called(flags))[0]).trace_flags == 1 | random
    assert context(spans_of(ENDED)[0]).trace_flags == 3


@pytest.mark.parametrize(
    ("flags", "state", "kept"),
    [
        (0, b"ot=th:c;rv:1234,v=1", {"ot": "rv:1234", "v": "1"}),
        (0, b"ot=th:c,v=1", {"v": "1"}),
        (1, b"ot=th:c,v=1", {"ot": "th:c", "v": "1"}),
        (0, b"v=1", {"v": "1"}),
    ],
)
def test_a_threshold_that_we_contradict_is_dropped(flags: int, state: bytes, kept: dict[str, str]) -> None:
    """`ot=th:` of a caller that said no does not travel with a span that is kept all the same."""
    (server,) = spans_of(called(flags, state))
    assert dict(context(server).trace_state.items()) == kept


def test_a_request_cannot_make_a_trace_large(model: DescribedModel) -> None:
    """Long attributes are cut, and so are steps beyond the limit."""
    many = replace(model, steps=tuple(f"s{i}" for i in range(1000)))
    marks = tuple(START_NS + i for i in range(1001))
    spans = spans_of(ENDED._replace(model=0, marks=marks, texts=Texts(b"x" * 10_000)), many)
    assert len(spans) == MAX_SEGMENTS + len(("queue", "predict", "server"))
    assert (spans[-1].attributes or {})["url.path"] == "x" * MAX_ATTRIBUTE_CHARS


def test_the_server_span_has_what_the_conventions_want() -> None:
    """Addresses, ports, route, status and agent are attributes of their own; what a client lacks is left out."""
    texts = Texts(b"/a", b"agent/1", b"10.0.0.1 5555", b"::1 8000")
    assert attributes_of(ENDED._replace(texts=texts)) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/a",
        "network.protocol.version": "1.1",
        "server.address": "::1",
        "server.port": 8000,
        "client.address": "10.0.0.1",
        "client.port": 5555,
        "http.route": "/",
        "http.response.status_code": 200,
        "user_agent.original": "agent/1",
        "sightline.kept": "slow",
    }
    nowhere = attributes_of(
        ENDED._replace(
            route=NO_ROUTE,
            status=0,
            method=0,
            version=0,
            texts=Texts(b"/x", server=b"/run/my app.sock", method=b"BREW", http_version=b"0.9"),
        )
    )
    assert nowhere == {
        "http.request.method": "_OTHER",
        "http.request.method_original": "BREW",
        "url.scheme": "http",
        "url.path": "/x",
        "network.protocol.version": "0.9",
        "server.address": "/run/my app.sock",
        "error.type": "cancelled",
        "sightline.kept": "slow",
    }


@pytest.mark.parametrize(
    ("sent", "shown"), [("café".encode(), "café"), (b"caf\xe9", "café"), (b"\xff\xfe", "ÿþ"), (b"", None)]
)
def test_bytes_of_a_client_are_shown_as_text(sent: bytes, shown: str | None) -> None:
    """What is no UTF-8 is shown as Latin-1, which every byte is."""
    attributes = attributes_of(ENDED._replace(texts=Texts(b"/" + sent, sent)))
    assert attributes.get("user_agent.original") == shown
    assert attributes["url.path"] == "/" + (shown or "")
