"""The latest kept trace of each bucket of the request durations."""

from collections.abc import Callable
from time import monotonic

from sightline_telemetry.model.histogram import Exemplar
from sightline_telemetry.requests.request_kind import RequestKind


class Exemplars:
    """Holds one exemplar per bucket and kind of request; a bucket whose exemplar is older than interval_s needs one."""

    def __init__(self, interval_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._held: dict[RequestKind, dict[int, tuple[float, Exemplar]]] = {}

    def needs(self, kind: RequestKind, bucket: int) -> bool:
        """Returns True if the trace of a request in this bucket is worth keeping."""
        held = self._held.get(kind, {}).get(bucket)
        return held is None or self._clock() - held[0] >= self._interval_s

    def offer(self, kind: RequestKind, bucket: int, exemplar: Exemplar) -> None:
        """Makes a kept trace the exemplar of its bucket."""
        self._held.setdefault(kind, {})[bucket] = (self._clock(), exemplar)

    def latest(self) -> dict[RequestKind, tuple[Exemplar, ...]]:
        """Returns the exemplars of all buckets, of any age."""
        return {kind: tuple(exemplar for _, exemplar in held.values()) for kind, held in self._held.items()}
