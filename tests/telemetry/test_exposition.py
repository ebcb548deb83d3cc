"""Our text is held to prometheus_client's own encoder: both, parsed strictly, are the same families."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client import generate_latest as encode_classic
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as FamilyExemplar
from prometheus_client.utils import floatToGoString

from telemetry.counts import Exemplar, Snapshot
from telemetry.exposition import Exposition, head
from telemetry.names import Instrument

FORMATS: dict[bool, tuple[Any, Callable[[CollectorRegistry], bytes]]] = {
    True: (parse_openmetrics, encode_openmetrics),
    False: (parse_classic, encode_classic),
}
DESCRIPTION = 'Says "hello", \\ and\nmore.'
COUNTER = Instrument("a.counter", "counter", "{row}", DESCRIPTION)
GAUGE = Instrument("a.gauge", "updowncounter", "By", DESCRIPTION)
HISTOGRAM = Instrument("a.histogram", "histogram", "s", DESCRIPTION)

go_string: Any = floatToGoString

labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(0, 10**12) | st.floats(0, allow_nan=False)


def theirs(family: Metric, *, is_openmetrics: bool) -> list[Metric]:
    """What strict readers see of a family in prometheus_client's own text."""

    class OneFamily(Collector):
        def collect(self) -> Iterator[Metric]:
            yield family

    registry = CollectorRegistry()
    registry.register(OneFamily())
    parse, encode = FORMATS[is_openmetrics]
    return list(parse(encode(registry).decode()))


def ours(instrument: Instrument, lines: Sequence[str], *, is_openmetrics: bool) -> list[Metric]:
    """What they see in ours."""
    text = "\n".join([*head(instrument, is_openmetrics=is_openmetrics), *lines, *(["# EOF"] * is_openmetrics), ""])
    return list(FORMATS[is_openmetrics][0](text))


@pytest.mark.parametrize("is_openmetrics", [True, False])
@given(series=st.dictionaries(st.tuples(labels, labels), numbers, min_size=1, max_size=4))
def test_numbers_are_those_of_prometheus_client(is_openmetrics: bool, series: dict[tuple[str, str], float]) -> None:
    """Counters and gauges with labels of any characters."""
    exposition = Exposition()
    for instrument, family in (
        (COUNTER, CounterMetricFamily("a_counter", DESCRIPTION, labels=["z_key", "key"])),
        (GAUGE, GaugeMetricFamily("a_gauge_bytes", DESCRIPTION, labels=["z_key", "key"], unit="bytes")),
    ):
        for pair, value in series.items():
            family.add_metric(pair, value)
        lines = exposition.numbers(instrument, [({"z.key": z, "key": key}, n) for (z, key), n in series.items()])
        seen = ours(instrument, lines, is_openmetrics=is_openmetrics)
        assert seen == theirs(family, is_openmetrics=is_openmetrics)


@pytest.mark.parametrize("is_openmetrics", [True, False])
@given(
    label=labels,
    bounds=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5, unique=True).map(sorted),
    counts=st.lists(st.integers(0, 10**9), min_size=6, max_size=6),
    total=st.floats(-1e300, 1e300),
)
def test_histograms_are_those_of_prometheus_client(
    is_openmetrics: bool, label: str, bounds: list[float], counts: list[int], total: float
) -> None:
    """Buckets, counts and sums on any bounds, the sum left out where it is below 0 or may fall; then an exemplar."""
    counts = counts[: len(bounds) + 1]
    dot = Exemplar(bounds[0], 1_500_000_000_000_000_000, 0xABC, 0xDEF)
    exposition = Exposition()
    for dots in ((), (dot,) if is_openmetrics else ()):
        snapshot = Snapshot(tuple(bounds), counts, total, dots)
        lines = exposition.histograms(HISTOGRAM, [({"key": label}, snapshot)])
        family = HistogramMetricFamily("a_histogram_seconds", DESCRIPTION, labels=["key"], unit="seconds")
        named = [go_string(bound) for bound in bounds] + ["+Inf"]
        buckets: list[Any] = list(zip(named, accumulate(counts), strict=True))
        if dots:
            ids = {"trace_id": f"{dot.trace_id:032x}", "span_id": f"{dot.span_id:016x}"}
            buckets[0] = (*buckets[0], FamilyExemplar(ids, dot.value, dot.time_ns / 1e9))
        family.add_metric([label], buckets, total if total >= 0 else None)
        seen = ours(HISTOGRAM, lines, is_openmetrics=is_openmetrics)
        assert seen == theirs(family, is_openmetrics=is_openmetrics)


def test_a_label_that_comes_later_is_one_of_all_series() -> None:
    """A series with one label more gives it to the others too, empty; without it they are as before."""
    exposition = Exposition()
    before = exposition.numbers(COUNTER, [({"b": "1"}, 1)])
    assert before == ['a_counter_total{b="1"} 1']
    both = exposition.numbers(COUNTER, [({"b": "1"}, 2), ({"b": "2", "a.c": 3}, 4)])
    assert both == ['a_counter_total{a_c="",b="1"} 2', 'a_counter_total{a_c="3",b="2"} 4']
    assert exposition.numbers(COUNTER, [({"b": "1"}, 1)]) == before


def test_what_has_no_series_has_no_lines() -> None:
    """Nothing is made up."""
    assert Exposition().numbers(COUNTER, []) == Exposition().histograms(HISTOGRAM, []) == []
    assert Exposition().numbers(COUNTER, [({}, 1.5)]) == ["a_counter_total 1.5"]
