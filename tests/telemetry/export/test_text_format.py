"""Our text is held to prometheus_client's own encoder: both, parsed strictly, are the same families."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client import generate_latest as encode_classic
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as FamilyExemplar
from prometheus_client.utils import floatToGoString

from sightline_telemetry.export.text_format import Exposition, head
from sightline_telemetry.instruments import Instrument
from sightline_telemetry.model.histogram import Exemplar, Snapshot

FORMATS: dict[bool, tuple[Any, Callable[[CollectorRegistry], bytes]]] = {
    True: (parse_openmetrics, encode_openmetrics),
    False: (parse_classic, encode_classic),
}
DESCRIPTION = 'Says "hello", \\ and\nmore.'
HISTOGRAM = Instrument("a.histogram", DESCRIPTION, kind="histogram", unit="s")

go_string: Any = floatToGoString

labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


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
        lines = exposition.lines(HISTOGRAM, [({"key": label}, snapshot)])
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
    seen = Snapshot((1.0,), [2, 3], 7.5)
    before = exposition.lines(HISTOGRAM, [({"b": "1"}, seen)])
    assert before[-1] == 'a_histogram_seconds_sum{b="1"} 7.5'
    both = exposition.lines(HISTOGRAM, [({"b": "1"}, seen), ({"b": "2", "a.c": 3}, seen)])
    assert [line for line in both if "_count" in line] == [
        'a_histogram_seconds_count{a_c="",b="1"} 5',
        'a_histogram_seconds_count{a_c="3",b="2"} 5',
    ]
    assert exposition.lines(HISTOGRAM, [({"b": "1"}, seen)]) == before


def test_what_has_no_series_has_no_lines() -> None:
    """Nothing is made up."""
    assert Exposition().lines(HISTOGRAM, []) == []
    assert Exposition().lines(HISTOGRAM, [({}, Snapshot((1.0,), [0, 1], 2.0))])[-1] == "a_histogram_seconds_sum 2.0"
