"""Writes histograms as text for a scrape, OpenMetrics or classic, from lines that are prepared once per series.

The set of series hardly ever changes. Labels are sorted and escaped when a series is first seen; later scrapes only
fill in the numbers. prometheus_client's encoder would repeat all this work for every sample of every scrape.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import NamedTuple, TypeVar

from prometheus_client.utils import floatToGoString

from sightline_telemetry.counts.series import MetricAttributes
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.histogram import Exemplar, Snapshot

T = TypeVar("T")
Labels = tuple[tuple[str, str | int | bool], ...]
Points = Iterable[tuple[MetricAttributes, Snapshot]]

_go_string: Callable[[float], str] = floatToGoString


class _Starts(NamedTuple):
    """Holds the starts of a histogram's lines; sums is empty if its values may be negative."""

    buckets: tuple[str, ...]
    sums: tuple[str, ...]


class Exposition:
    """Writes the lines of histograms, and keeps the start of each line for the next scrape."""

    def __init__(self) -> None:
        self._starts: dict[tuple[str, Labels], _Starts] = {}

    def lines(self, instrument: Instrument, points: Points) -> list[str]:
        """Returns the sample lines of a histogram, with the exemplars of its snapshots.

        OpenMetrics forbids sums that are negative or can fall: such a sum is left out together with its count.
        """
        lines = []
        for labels, snapshot in _labelled(points):
            key = (instrument.name, labels)
            starts = self._starts.get(key)
            if starts is None:
                starts = self._starts[key] = _histogram_starts(instrument.prometheus_name, labels, snapshot)
            cumulative = list(accumulate(snapshot.counts))
            buckets = [start + str(count) for start, count in zip(starts.buckets, cumulative, strict=True)]
            for exemplar in snapshot.exemplars:
                buckets[bisect_left(snapshot.bounds, exemplar.value)] += _exemplar(exemplar)
            lines += buckets
            if starts.sums and snapshot.sum >= 0:
                lines += [starts.sums[0] + str(cumulative[-1]), starts.sums[1] + _go_string(snapshot.sum)]
        return lines


def head(histogram: Instrument, *, is_openmetrics: bool) -> list[str]:
    """Returns the metadata lines that precede the samples of a histogram.

    >>> from sightline_telemetry.instruments import QUEUE_DURATION
    >>> head(QUEUE_DURATION, is_openmetrics=True)[1:]
    ['# TYPE ml_queue_duration_seconds histogram', '# UNIT ml_queue_duration_seconds seconds']
    """
    name, text = histogram.prometheus_name, histogram.description.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        text = text.replace('"', r"\"")
    lines = [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
    if is_openmetrics and histogram.prometheus_unit:
        lines.append(f"# UNIT {name} {histogram.prometheus_unit}")
    return lines


def _labelled(series: Iterable[tuple[MetricAttributes, T]]) -> list[tuple[Labels, T]]:
    """Gives all series the same label names, as strict parsers require; a label that a series lacks is empty."""
    found = list(series)
    keys = {tuple(attributes) for attributes, _ in found}
    if len(keys) <= 1:
        return [(tuple(attributes.items()), value) for attributes, value in found]
    every = sorted(set().union(*keys))
    return [(tuple((key, attributes.get(key, "")) for key in every), value) for attributes, value in found]


def _histogram_starts(name: str, labels: Labels, snapshot: Snapshot) -> _Starts:
    bounds = [*map(_go_string, snapshot.bounds), "+Inf"]
    buckets = tuple(_start(f"{name}_bucket", (*labels, ("le", bound))) for bound in bounds)
    has_sum = not snapshot.bounds or snapshot.bounds[0] >= 0
    return _Starts(buckets, (_start(f"{name}_count", labels), _start(f"{name}_sum", labels)) if has_sum else ())


def _start(name: str, labels: Labels) -> str:
    if not labels:
        return f"{name} "
    named = sorted((key.replace(".", "_"), str(value)) for key, value in labels)
    inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in named)
    return f"{name}{{{inside}}} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _exemplar(exemplar: Exemplar) -> str:
    ids = f'span_id="{exemplar.span_id:016x}",trace_id="{exemplar.trace_id:032x}"'
    return f" # {{{ids}}} {_go_string(exemplar.value)} {exemplar.time_ns / 1e9}"
