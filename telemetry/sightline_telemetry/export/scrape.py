"""Answers scrapes: in OpenMetrics with exemplars, or in the classic text format, depending on the `Accept` header.

Counters and gauges come from the SDK's own Prometheus reader. Histograms come directly from the producer, because that
reader drops exemplars (https://github.com/open-telemetry/opentelemetry-python/issues/4228). Their lines are prepared
in advance, because four of five samples belong to histograms.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from sightline_telemetry.export.producer import LIMITS, Points, Producer
from sightline_telemetry.export.text_format import Exposition, head
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.histogram import Exemplar

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
    """

    def __init__(self, producer: Producer, resolves: Callable[[int], bool]) -> None:
        self._producer = producer
        self._resolves = resolves
        self._lock = Lock()
        self._registry = CollectorRegistry()
        self.reader = ScrapeReader(self._registry)
        self._exposition = Exposition()
        self._training_lines: dict[str, list[str]] = {}

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the body and its content type, for an `Accept` header."""
        encode, content_type = choose_encoder(_ESCAPING.sub("", accept))
        is_openmetrics = content_type.startswith("application/openmetrics-text")
        histogram_lines: list[str] = []
        # With two scrapes at once, the SDK's reader would show every sample twice in one of them.
        with self._lock, self._producer.reading() as reading:
            sdk_text = encode(self._registry).removesuffix(_END)
            for instrument, points in self._producer.histograms(reading):
                histogram_lines += head(instrument, is_openmetrics=is_openmetrics)
                histogram_lines += self._lines(instrument, points, has_exemplars=is_openmetrics)
        return sdk_text + "\n".join([*histogram_lines, ""]).encode() + (_END if is_openmetrics else b""), content_type

    def _lines(self, instrument: Instrument, points: Points, *, has_exemplars: bool) -> list[str]:
        """Returns the lines of a histogram; those of the training data never change and are built once."""
        if instrument.source != "training":
            shown = [
                (attributes, replace(snapshot, exemplars=self._shown(snapshot.exemplars) if has_exemplars else ()))
                if snapshot.exemplars
                else (attributes, snapshot)
                for attributes, snapshot in points
            ]
            return self._exposition.lines(instrument, shown)
        kept = self._training_lines.get(instrument.name)
        if kept is None:
            kept = self._training_lines[instrument.name] = self._exposition.lines(instrument, points)
        return kept

    def _shown(self, exemplars: Sequence[Exemplar]) -> tuple[Exemplar, ...]:
        return tuple(exemplar for exemplar in exemplars if self._resolves(exemplar.trace_id))
