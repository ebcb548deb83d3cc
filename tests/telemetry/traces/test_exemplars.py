"""Each bucket shows its latest kept trace, and needs another after an interval."""

from sightline_telemetry.model.histogram import Exemplar
from sightline_telemetry.requests.request_kind import RequestKind
from sightline_telemetry.traces.exemplars import Exemplars
from tests.telemetry.clock import Clock

KIND, OTHER = RequestKind("GET", "/", 200), RequestKind("GET", "/", 500)


def test_a_bucket_is_bare_until_it_has_a_dot() -> None:
    """An exemplar covers its own bucket of its own kind until the interval ends, and is shown for longer."""
    clock = Clock()
    exemplars = Exemplars(5.0, clock)
    first, second = Exemplar(0.5, 1, 2, 3), Exemplar(0.7, 4, 5, 6)
    assert exemplars.needs(KIND, 0)
    exemplars.offer(KIND, 0, first)
    assert (exemplars.needs(KIND, 0), exemplars.needs(KIND, 1), exemplars.needs(OTHER, 0)) == (False, True, True)
    clock.now += 4.9
    assert not exemplars.needs(KIND, 0)
    clock.now += 0.1
    assert exemplars.needs(KIND, 0)
    assert exemplars.latest() == {KIND: (first,)}
    exemplars.offer(KIND, 0, second)
    assert not exemplars.needs(KIND, 0)
    assert exemplars.latest() == {KIND: (second,)}


def test_each_bucket_and_kind_has_its_own() -> None:
    """The latest exemplars of all buckets are read together, by kind."""
    exemplars = Exemplars(5.0, Clock())
    dots = [Exemplar(value, 1, 2, 3) for value in (0.1, 0.2, 0.3)]
    for kind, bucket, dot in ((KIND, 4, dots[0]), (OTHER, 4, dots[1]), (KIND, 7, dots[2])):
        exemplars.offer(kind, bucket, dot)
    assert exemplars.latest() == {KIND: (dots[0], dots[2]), OTHER: (dots[1],)}
