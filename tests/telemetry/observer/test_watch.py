"""What follows from events: counts, kept traces, exemplars, log lines; what cannot be read costs itself alone."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.resources import Resource

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.layout import FAULT, IS_ASKED, LABELS, LOG, RequestEvent, batch_event, body_event
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import (
    BATCH_SIZE,
    DURATION_BOUNDS_S,
    FAULTS,
    PREDICTIONS,
    TRACES_KEPT,
    TRACES_OVER_BUDGET,
)
from sightline_telemetry.model.histogram import Exemplar
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Quality, quality_to_bytes
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.requests.recording import EventList
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.testing import SpansInMemory
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.spans import SpanWriter
from sightline_telemetry.traces.tail_sampling import TailSampler
from tests.telemetry.clock import Clock
from tests.telemetry.counted import Counted
from tests.telemetry.rows import CITIES, encoded, one_row, random_rows
from tests.telemetry.serving import ENDED, START_NS, UNIX_NS, lasting, predicted, written

KIND = RequestKind("GET", "/", 200)


class Watched:
    """A watch and all that it has written."""

    def __init__(self, table: SeriesTable, *, keeps_traces: bool = True, logs_requests: bool = True) -> None:
        self.events, self.spans, self.lines = EventList(), SpansInMemory(), list[bytes]()
        self.exemplars, self.clock = Exemplars(5.0), Clock()
        self.counted = Counted(table, Counts.zero(table))
        self.watch = Watch(
            table,
            TailSampler(clock=self.clock),
            self.exemplars,
            SpanWriter(Resource({}), (self.spans,), table.description) if keeps_traces else None,
            self.lines.append,
            Faults(self.events.write_aside),
            logs_requests=logs_requests,
        )

    def read(self, *events: bytes) -> Counted:
        """Counts events, then the faults that they caused."""
        found = self.watch.watch(events)
        found += self.watch.watch(self.events.read())
        self.counted = replace(self.counted, counts=self.counted.counts + found)
        return self.counted

    def log(self) -> list[dict[str, Any]]:
        """The lines, parsed."""
        assert all(line.endswith(b"\n") for line in self.lines)
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def watched(table: SeriesTable) -> Watched:
    """A watch of a service with one model."""
    return Watched(table)


def test_the_first_request_of_a_bucket_is_its_exemplar(watched: Watched) -> None:
    """Of requests in two buckets the first of each is kept and shown; all are counted and have a line."""
    durations = (0.01, 0.009, 0.3, 0.01)
    events = [lasting(each, ENDED._replace(trace_lo=n)) for n, each in enumerate(durations, 1)]
    counted = watched.read(*map(written, events))
    assert counted.requests() == {KIND: 4}
    assert counted.numbers(TRACES_KEPT) == {"asked": 0, "failed": 0, "slow": 0, "exemplar": 2}
    assert watched.exemplars.latest() == {
        KIND: (
            Exemplar(0.01, UNIX_NS + 10_000_000, 1, ENDED.span_id),
            Exemplar(0.3, UNIX_NS + 300_000_000, 3, ENDED.span_id),
        )
    }
    assert [(line["trace_id"][-1], line.get("trace_kept_because")) for line in watched.log()] == [
        ("1", "exemplar"),
        ("2", None),
        ("3", "exemplar"),
        ("4", None),
    ]
    assert [(span.attributes or {})["sightline.kept"] for span in watched.spans.spans] == ["exemplar"] * 2


def test_a_duration_on_a_bound_has_its_exemplar_in_the_bucket_that_ends_there(watched: Watched) -> None:
    """Bucket and exemplar agree for a duration that equals a bound."""
    for n, bound in enumerate(DURATION_BOUNDS_S, 1):
        watched.read(written(lasting(bound, ENDED._replace(trace_lo=n, flags=IS_ASKED))))
    snapshot = watched.counted.durations()[KIND]
    assert snapshot.counts == [1] * len(DURATION_BOUNDS_S) + [0]
    assert len(watched.exemplars.latest()[KIND]) == len(DURATION_BOUNDS_S)


def test_what_is_over_an_allowance_is_counted(watched: Watched) -> None:
    """Of 50 failures 20 are kept, and the others are cut, but for the exemplar."""
    failed = [written(ENDED._replace(status=500)) for _ in range(50)]
    counted = watched.read(*failed)
    assert counted.numbers(TRACES_KEPT)["failed"] == 20
    assert counted.numbers(TRACES_OVER_BUDGET) == {"asked": 0, "failed": 30, "slow": 0, "exemplar": 0}
    assert {line["level"] for line in watched.log()} == {"error"}


def test_without_a_place_for_traces_nothing_is_kept(table: SeriesTable) -> None:
    """Without a writer there are no traces and no exemplars, which would point to nothing."""
    watched = Watched(table, keeps_traces=False)
    counted = watched.read(written(ENDED._replace(flags=IS_ASKED, status=500)))
    assert set(counted.numbers(TRACES_KEPT).values()) == {0}
    assert (watched.exemplars.latest(), sum(counted.requests().values())) == ({}, 1)
    assert [line["trace_kept"] for line in watched.log()] == [False]


def test_loggers_write_through_it(table: SeriesTable) -> None:
    """Lines of loggers are written as they are, and those of requests only if the settings want them."""
    watched = Watched(table, logs_requests=False)
    watched.read(written(ENDED), body_event(LOG, b'{"a":1}\n'), written(ENDED))
    assert watched.lines == [b'{"a":1}\n']


def test_the_newest_totals_of_labels_are_kept(watched: Watched) -> None:
    """Totals replace one another, because each event carries all of them; they are no part of the counts."""
    judged = (JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True),)
    assert watched.watch.labels is None
    for ledger in ("first", "second"):
        watched.read(body_event(LABELS, quality_to_bytes(Quality(ledger, judged, {}))))
    assert watched.watch.labels == Quality("second", judged, {})
    assert not watched.counted.counts.integers.any()


def broken_rows(model: DescribedModel) -> list[RequestEvent]:
    """Requests whose rows cannot be those of the model."""
    far = replace(one_row(1.0), codes=np.array([[len(CITIES)]]))
    return [
        ENDED._replace(model=0, n_rows=1, rows=encoded(model, far)),
        ENDED._replace(model=0, n_rows=1, rows=b"too short"),
    ]


def test_what_cannot_be_read_costs_itself_alone(
    watched: Watched, model: DescribedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that are no events, and rows of no model, are faults that are counted; all else in the block counts."""
    rows, _ = random_rows(100)
    broken = [written(ENDED)[:30], b"", b"\x01", body_event(FAULT, b"nowhere"), body_event(LABELS, b"{")]
    counted = watched.read(
        predicted(model, rows),
        *broken,
        *map(written, broken_rows(model)),
        batch_event(0, 7, (), ()),
        batch_event(9, 7, (), ()),
        predicted(model, rows),
    )
    assert counted.numbers(FAULTS)["reading"] == len(broken) + 2 + 1
    assert sum(counted.numbers(PREDICTIONS).values()) == 200
    assert sum(counted.requests().values()) == 2 + 2
    assert counted.histograms(BATCH_SIZE)[()].sum == 7
    assert len([record for record in caplog.records if record.name == "sightline_telemetry.faults"]) == 1


def test_a_span_that_cannot_be_written_loses_no_count(watched: Watched) -> None:
    """A span processor that raises is a fault; the request is counted, and the next one has its trace."""
    on_end = watched.spans.on_end
    watched.spans.on_end = lambda _: 1 / 0  # type: ignore[method-assign, assignment]
    watched.read(written(ENDED._replace(flags=IS_ASKED)))
    watched.spans.on_end = on_end  # type: ignore[method-assign]
    counted = watched.read(written(ENDED._replace(flags=IS_ASKED)))
    assert (counted.requests(), counted.numbers(FAULTS)["reading"]) == ({KIND: 2}, 1)
    assert len(watched.spans.spans) == 1


def test_predicted_rows_become_segments(watched: Watched, model: DescribedModel) -> None:
    """A kept request shows its queue and its steps."""
    rows, _ = random_rows(3)
    marks = (START_NS + 5, START_NS + 6, START_NS + 7)
    event = ENDED._replace(model=0, n_rows=3, rows=encoded(model, rows), queued_ns=START_NS, marks=marks)
    watched.read(written(event))
    assert [span.name for span in watched.spans.spans] == ["queue", "prepare", "classify", "predict", "GET /"]
