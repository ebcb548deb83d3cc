"""The scrape endpoint: OpenMetrics with exemplars, or classic text, as the client's `Accept` header asks.

Counters and gauges come through the SDK's own Prometheus reader. Histograms come straight from the producer, for that
reader drops exemplars (https://github.com/open-telemetry/opentelemetry-python/issues/4228), and as lines prepared
beforehand, for they are four samples of five.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from threading import Lock

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from sightline_telemetry.export.gil_yield import GilYield
from sightline_telemetry.export.producer import LIMITS, Producer
from sightline_telemetry.export.text_format import Exposition, head
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.counts import ExemplarBuckets, Snapshot

_END = b"# EOF\n"
# No name here needs escaping, whichever way a client knows.
_ESCAPING = re.compile(r";\s*escaping=[^;,]*")


class ScrapeReader(PrometheusMetricReader):
    """The SDK's reader, less a trap: after its `force_flush` the next scrape would show every sample twice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(scope_info_enabled=False, registry=registry, **LIMITS)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  # the signature is the SDK's
        """Nothing to do: a scrape collects for itself."""
        return True


class Scrape:
    """What `/metrics` answers.

    resolves: whether the trace with this id can still be read; exemplars of others are left out.
    is_only_reader: no exporter reads besides, so a scrape is what starts the next interval of exemplars.
    """

    def __init__(self, producer: Producer, resolves: Callable[[int], bool], *, is_only_reader: bool) -> None:
        self._producer = producer
        self._resolves = resolves
        self._is_only_reader = is_only_reader
        self._lock = Lock()
        self._registry = CollectorRegistry()
        self.reader = ScrapeReader(self._registry)
        self._exposition = Exposition()
        self._of_training: dict[str, list[str]] = {}

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type."""
        encode, content_type = choose_encoder(_ESCAPING.sub("", accept))
        is_openmetrics = content_type.startswith("application/openmetrics-text")
        with self._lock:  # of two scrapes at once the SDK's reader would show one every sample twice
            theirs = encode(self._registry).removesuffix(_END)
            ours: list[str] = []
            gil_yield = GilYield()
            for instrument, samples in self._samples(has_exemplars=is_openmetrics):
                gil_yield.keep()
                if samples:
                    ours += head(instrument, is_openmetrics=is_openmetrics)
                    ours += samples
        return theirs + "\n".join([*ours, ""]).encode() + (_END if is_openmetrics else b""), content_type

    def _samples(self, *, has_exemplars: bool) -> Iterator[tuple[Instrument, list[str]]]:
        """The lines of each histogram; what training looked like is written once."""
        for instrument, points in self._producer.histograms(partial(self._read, has_exemplars)):
            kept = self._of_training.get(instrument.name)
            yield instrument, kept or self._keep(instrument, self._exposition.lines(instrument, points))

    def _keep(self, instrument: Instrument, lines: list[str]) -> list[str]:
        if instrument.source == "training":
            self._of_training[instrument.name] = lines
        return lines

    def _read(self, has_exemplars: bool, buckets: ExemplarBuckets) -> Snapshot:
        snapshot = buckets.read_latest(starts_interval=self._is_only_reader)
        if not snapshot.exemplars:
            return snapshot
        shown = (e for e in snapshot.exemplars if has_exemplars and self._resolves(e.trace_id))
        return replace(snapshot, exemplars=tuple(shown))
