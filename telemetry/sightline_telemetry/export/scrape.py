"""Answers scrapes: in OpenMetrics with exemplars, or in the classic text format, depending on the `Accept` header.

Counters and gauges come from the SDK's own Prometheus reader. Histograms come directly from the producer, because that
reader drops exemplars (https://github.com/open-telemetry/opentelemetry-python/issues/4228). Their lines are prepared
in advance, because four of five samples belong to histograms.
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
# No metric name here needs escaping, so the escaping scheme that a client requests can be ignored.
_ESCAPING = re.compile(r";\s*escaping=[^;,]*")


class ScrapeReader(PrometheusMetricReader):
    """Reads as the SDK's reader does, but `force_flush` does not make the next scrape show every sample twice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(scope_info_enabled=False, registry=registry, **LIMITS)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  # the signature is the SDK's
        """Does nothing and returns True: each scrape collects by itself."""
        return True


class Scrape:
    """Builds the answers of `/metrics`.

    resolves: returns True if the trace with this id can still be read; exemplars of other traces are left out.
    is_only_reader: True if no exporter reads the counts too; each scrape then starts the next interval of exemplars.
    """

    def __init__(self, producer: Producer, resolves: Callable[[int], bool], *, is_only_reader: bool) -> None:
        self._producer = producer
        self._resolves = resolves
        self._is_only_reader = is_only_reader
        self._lock = Lock()
        self._registry = CollectorRegistry()
        self.reader = ScrapeReader(self._registry)
        self._exposition = Exposition()
        self._training_lines: dict[str, list[str]] = {}

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the body and its content type, for an `Accept` header."""
        encode, content_type = choose_encoder(_ESCAPING.sub("", accept))
        is_openmetrics = content_type.startswith("application/openmetrics-text")
        with self._lock:  # with two scrapes at once, the SDK's reader would show every sample twice in one of them
            sdk_text = encode(self._registry).removesuffix(_END)
            histogram_lines: list[str] = []
            gil_yield = GilYield()
            for instrument, samples in self._samples(has_exemplars=is_openmetrics):
                gil_yield.keep()
                if samples:
                    histogram_lines += head(instrument, is_openmetrics=is_openmetrics)
                    histogram_lines += samples
        return sdk_text + "\n".join([*histogram_lines, ""]).encode() + (_END if is_openmetrics else b""), content_type

    def _samples(self, *, has_exemplars: bool) -> Iterator[tuple[Instrument, list[str]]]:
        """Yields the lines of each histogram; those of the training data never change and are built once."""
        for instrument, points in self._producer.histograms(partial(self._read, has_exemplars)):
            kept = self._training_lines.get(instrument.name)
            yield instrument, kept or self._keep(instrument, self._exposition.lines(instrument, points))

    def _keep(self, instrument: Instrument, lines: list[str]) -> list[str]:
        if instrument.source == "training":
            self._training_lines[instrument.name] = lines
        return lines

    def _read(self, has_exemplars: bool, buckets: ExemplarBuckets) -> Snapshot:
        snapshot = buckets.read_latest(starts_interval=self._is_only_reader)
        if not snapshot.exemplars:
            return snapshot
        shown = (e for e in snapshot.exemplars if has_exemplars and self._resolves(e.trace_id))
        return replace(snapshot, exemplars=tuple(shown))
