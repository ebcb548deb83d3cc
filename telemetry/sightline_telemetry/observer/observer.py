"""The observer of a service: its counts so far, and all that exports, scrapes and logs need."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.endings import ORDERLY, name_of_signal
from sightline_telemetry.events.seats import Ended, ProcessWords
from sightline_telemetry.events.slots import PREDICTING, InFlight
from sightline_telemetry.export.logs import LogWriter
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.reading import Reading
from sightline_telemetry.export.sdk import Providers
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.followers import Followers
from sightline_telemetry.observer.gauges import Gauges
from sightline_telemetry.observer.watch import Watch
from sightline_telemetry.traces.exemplars import Exemplars
from sightline_telemetry.traces.lost import MAX_LOST, LostRequest, death_line, lost_line
from sightline_telemetry.traces.tail_sampling import HeadSampled, SamplingRules, TailSampler
from sightline_telemetry.traces.trace_ring import TraceRing


@dataclass(frozen=True, slots=True)
class ObserverOptions:
    """What the settings of a service want of its observer.

    has_ring: the last kept traces are held in memory. logs_requests: each request leaves a line in the log.
    is_head_sampled: another instrumentation makes the server spans. is_guest: the process belongs to another
    application, so nothing global is set, and neither spans nor process metrics are made.
    api_keys, tls_cert, tls_key: files for the port for scrapes, empty without. allowed_hosts: names of that port.
    standstill_s: an event loop that stands still for longer is reported. ends_standstill: its worker is killed, too.
    """

    rules: SamplingRules = field(default_factory=SamplingRules)
    has_ring: bool = False
    logs_requests: bool = True
    is_head_sampled: bool = False
    is_guest: bool = False
    standstill_s: float = 5.0
    ends_standstill: bool = False
    api_keys: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    allowed_hosts: tuple[str, ...] = ()


class Observer:
    """Folds events, decides about traces, exports, logs and renders scrapes.

    gauges: returns what is not counted.
    before_reading: called before each export and each scrape, to take the events that wait.
    resource: attributes of the service, unless the environment sets them. start_ns: Unix time of its start.
    workers: the processes of the service; empty if it is this one.
    """

    def __init__(
        self,
        description: Description,
        options: ObserverOptions,
        faults: Faults,
        gauges: Callable[[], Gauges],
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
        self._exemplars = Exemplars(self.providers.interval_s)
        self.log = LogWriter(faults.lose)
        self._watch = Watch(
            self.table,
            HeadSampled() if options.is_head_sampled else TailSampler(options.rules),
            self._exemplars,
            self.providers if self.providers.keeps_traces else None,
            self.write_line,
            faults,
            logs_requests=options.logs_requests,
            has_exemplars=self.providers.has_exemplars,
        )

    @property
    def followers(self) -> Followers:
        """Who follows requests live."""
        return self._watch.followers

    def write_line(self, line: bytes) -> None:
        """Writes a line of JSON, with its line break, to the log; exports it too where logs are exported."""
        self.log.write(line)
        self.providers.write_line(line)

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

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns all counts and their content type: OpenMetrics or classic text, as an Accept header requests it."""
        return self.providers.scrape.render(accept)

    def report_death(self, index: int, ended: Ended, in_flight: Sequence[InFlight], n_unsent: int) -> None:
        """Writes what a dead worker was doing: a log line and a failed trace for each request in flight.

        Those that it was predicting come first; the others were lost with it, not its cause.
        n_unsent: requests that were counted, but whose answers may not have been sent.
        """
        signal_name = name_of_signal(ended.wait_status)
        ordered = sorted(in_flight, key=lambda request: request.phase != PREDICTING)
        for request in ordered[:MAX_LOST]:
            lost = LostRequest(request, self.table.description.route(request.route), index, ended)
            self.write_line(lost_line(lost, signal_name))
            if self.providers.keeps_traces:
                self.providers.write_lost(lost, signal_name)
        if ended.wait_status not in ORDERLY or in_flight or n_unsent:
            self.write_line(death_line(index, ended, signal_name, len(in_flight), n_unsent))

    def start(self) -> None:
        """Starts exports, spans and the log."""
        self.providers.start()
        self.log.start()

    def stop(self) -> bool:
        """Sends the last counts and spans, and writes the last lines of the log; returns False if the log blocks."""
        self._before_reading()
        self.providers.shutdown()  # first: it needs its time, and a log that blocks takes all that is left
        return self.log.stop()

    def _read(self) -> Reading:
        self._before_reading()
        active, queued, deaths = self._gauges()
        models = self.table.description.models
        with self._lock:
            return Reading(
                self.counts if self.overflow is None else self.counts + self.overflow,
                active,
                {model.id: n for model, n in zip(models, queued, strict=False)},
                self._watch.labels,
                self._exemplars.latest(),
                deaths,
            )
