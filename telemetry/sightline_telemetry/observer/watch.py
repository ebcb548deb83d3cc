"""What becomes of an event: counts, a decision about its trace, an exemplar, a line in the log."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.fold import Block, fold, request_kind
from sightline_telemetry.counts.series import KEPT_REASONS, SeriesTable
from sightline_telemetry.events.layout import LABELS, LOG, REQUEST, RequestEvent, event_body, read_request, type_of
from sightline_telemetry.export.logs import request_line
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import DURATION_BOUNDS_S
from sightline_telemetry.model.histogram import Exemplar
from sightline_telemetry.model.quality import Quality, latest, quality_from_bytes
from sightline_telemetry.observer.followers import Followers
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.tail_sampling import Sampler


class TraceWriter(Protocol):
    """Writes kept traces, as `sightline_telemetry.traces.spans.SpanWriter` does."""

    def write(self, event: RequestEvent, kind: RequestKind, reason: str) -> None:
        """Writes the spans of an ended request."""


class Watch:
    """Turns events into counts, kept traces, exemplars and log lines; used by one thread.

    writer: writes kept traces; with None no trace is kept and there are no exemplars, which would point to no trace.
    log: takes the lines of loggers and, with logs_requests, of requests; each has its line break.
    faults: notes what cannot be read; it costs its own event and no other.
    has_exemplars: False if none are wanted; requests to probes have none in any case.
    """

    def __init__(
        self,
        table: SeriesTable,
        sampler: Sampler,
        exemplars: Exemplars,
        writer: TraceWriter | None,
        log: Callable[[bytes], None],
        faults: Faults,
        *,
        logs_requests: bool = True,
        has_exemplars: bool = True,
    ) -> None:
        self._table = table
        self._routes = table.description.routes
        self._sampler = sampler
        self._exemplars = exemplars
        self._writer = writer
        self._log = log
        self._faults = faults
        self._logs_requests = logs_requests
        self._probes = frozenset(table.description.probes)
        self._has_exemplars = has_exemplars
        self.followers = Followers()
        self.labels: Quality | None = None

    def watch(self, events: Iterable[bytes]) -> Counts:
        """Returns what events add to the counts, after it has done all else that follows from them."""
        block = Block(self._table)
        for event in events:
            try:
                self._watch(block, event)
            except Exception:
                self._faults.note("reading")
        n_dropped = block.drop_misfits()
        if n_dropped:
            self._faults.lose("reading", n_dropped)
        try:
            return block.counts()
        except Exception:
            self._faults.note("reading")
            return self._count_singly(events)

    def _count_singly(self, events: Iterable[bytes]) -> Counts:
        """Counts a block in which one event spoils the counting of all; that one is left out."""
        counts = Counts.zero(self._table)
        for event in events:
            with suppress(Exception):
                counts += fold([event], self._table)
        return counts

    def _watch(self, block: Block, event: bytes) -> None:
        kind = type_of(event)
        if kind == REQUEST:
            self._end(block, read_request(event))
        elif kind == LOG:
            self._log(event_body(event))
        elif kind == LABELS:
            self.labels = latest(self.labels, quality_from_bytes(event_body(event)))
        else:
            block.add(event)

    def _end(self, block: Block, event: RequestEvent) -> None:
        """Counts an ended request, and decides whether its trace is kept."""
        kind = request_kind(event, self._routes)
        counted = self._table.counted(kind)
        block.add_request(event, counted)
        reason = None if self._writer is None else self._decide(block, event, kind, counted)
        self.followers.show(event, kind, reason)
        if self._logs_requests:
            self._log(request_line(event, kind, reason))

    def _decide(self, block: Block, event: RequestEvent, kind: RequestKind, counted: RequestKind) -> str | None:
        bucket = bisect_left(DURATION_BOUNDS_S, event.duration_s)
        has_exemplar = self._has_exemplars and kind.route not in self._probes
        needs_exemplar = has_exemplar and self._exemplars.needs(counted, bucket)
        decision = self._sampler.decide(event, kind.route, needs_exemplar=needs_exemplar)
        for cut in decision.over_budget:
            block.add_kept(KEPT_REASONS.index(cut), is_over_budget=True)
        if decision.kept is None or self._writer is None:
            return None
        block.add_kept(KEPT_REASONS.index(decision.kept))
        self._writer.write(event, kind, decision.kept.value)
        if not has_exemplar:
            return decision.kept.value
        ended_ns = event.unix(event.end_ns)
        exemplar = Exemplar(event.duration_s, ended_ns, event.trace_id, event.span_id)
        self._exemplars.offer(counted, bucket, exemplar)
        return decision.kept.value
