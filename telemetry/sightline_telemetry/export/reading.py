"""All that an export or a scrape shows, read at one moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.model.histogram import Exemplar
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import Quality
from sightline_telemetry.requests.request_kind import RequestKind


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a service at one moment; counts agree with one another.

    active: (N_ACTIVE,) requests that run, by method and scheme. queued_rows: by model.
    labels: totals as last read; None before the first read.
    exemplars: by kind of request, the latest of each bucket. deaths: of workers, by the signal that ended them.
    """

    counts: Counts
    active: Iterable[int]
    queued_rows: Mapping[ModelId, int] = field(default_factory=dict)
    labels: Quality | None = None
    exemplars: Mapping[RequestKind, tuple[Exemplar, ...]] = field(default_factory=dict)
    deaths: Mapping[str, int] = field(default_factory=dict)
