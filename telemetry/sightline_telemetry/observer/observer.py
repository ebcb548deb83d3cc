"""The observer of a service: its counts so far, and all that exports, scrapes and logs need."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.seats import ProcessWords
from sightline_telemetry.export.logs import LogWriter
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.reading import Reading
from sightline_telemetry.export.sdk import Providers
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.tail_sampling import HeadSampled, SamplingRules, TailSampler
from sightline_telemetry.traces.trace_ring import TraceRing


@dataclass(frozen=True, slots=True)
class ObserverOptions:
    """What the settings of a service want of its observer.

    has_ring: the last kept traces are held in memory. logs_requests: each request leaves a line in the log.
    is_head_sampled: another instrumentation makes the server spans. is_guest: the process belongs to another
    application, so nothing global is set, and neither spans nor process metrics are made.
    """

    rules: SamplingRules = field(default_factory=SamplingRules)
    has_ring: bool = False
    logs_requests: bool = True
    is_head_sampled: bool = False
    is_guest: bool = False


class Observer:
    """Folds events, decides about traces, exports, logs and renders scrapes.

    gauges: returns the requests that run and the rows that wait, as EventSink has them.
    before_reading: called before each export and each scrape, to take the events that wait.
    resource: attributes of the service, unless the environment sets them. start_ns: Unix time of its start.
    workers: the processes of the service; empty if it is this one.
    """

    def __init__(
        self,
        description: Description,
        options: ObserverOptions,
        faults: Faults,
        gauges: Callable[[], tuple[Sequence[int], Sequence[int]]],
        before_reading: Callable[[], None],
        environment: Mapping[str, str] = os.environ,
        *,
        resource: Mapping[str, str] = MappingProxyType({}),
        start_ns: int | None = None,
        workers: Sequence[ProcessWords] = (),
    ) -> None:
        self.table = SeriesTable(description)
        self.counts = Counts.zero(self.table)
        self.overflow: Counts | None = None
        """What workers have counted themselves while their rings were full."""
        self._gauges = gauges
        self._before_reading = before_reading
        self._lock = Lock()
        self.ring = TraceRing() if options.has_ring else None
        producer = Producer(self.table, self._read, faults, start_ns=start_ns)
        self.providers = Providers(
            producer,
            self.ring,
            environment,
            is_guest=options.is_guest,
            is_head_sampled=options.is_head_sampled,
            attributes=resource,
            workers=workers,
        )
        self._deaths: dict[str, int] = {}
        self._exemplars = Exemplars(self.providers.interval_s)
        self.log = LogWriter(faults.lose)
        self._watch = Watch(
            self.table,
            HeadSampled() if options.is_head_sampled else TailSampler(options.rules),
            self._exemplars,
            self.providers if self.providers.keeps_traces else None,
            self.log.write,
            faults,
            logs_requests=options.logs_requests,
        )

    def take(self, read: Callable[[], Iterable[bytes]]) -> None:
        """Reads events and counts them. read: returns them; only one thread reads at a time."""
        with self._lock:
            events = read()
            if events:
                self.counts += self._watch.watch(events)

    def add(self, counts: Counts) -> None:
        """Adds counts that were folded elsewhere."""
        with self._lock:
            self.counts += counts

    def start(self) -> None:
        """Starts exports, spans and the log."""
        self.providers.start()
        self.log.start()

    def stop(self) -> None:
        """Writes the last lines of the log, and sends the last counts and spans."""
        self._before_reading()
        self.log.stop()
        self.providers.shutdown()

    def _read(self) -> Reading:
        self._before_reading()
        active, queued = self._gauges()
        models = self.table.description.models
        with self._lock:
            return Reading(
                self.counts if self.overflow is None else self.counts + self.overflow,
                active,
                {model.id: n for model, n in zip(models, queued, strict=False)},
                self._watch.labels,
                self._exemplars.latest(),
            )
