"""Every series that is counted, and where its numbers stand in a `Counts`.

Numbers of all counters and histograms stand side by side in one vector of integers, and the sums of histograms in one
of floats, so that counts are added, sent and exported without a loop over series. Every series exists from the start,
at 0. Requests of kinds that are not expected share a series, so that no client makes a new one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sightline_telemetry import instruments
from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.events.layout import ERROR_REASONS, REFUSED_REASONS
from sightline_telemetry.events.slots import SLOTS_FULL
from sightline_telemetry.instruments import BATCH_SIZE_BOUNDS, CLIENT, DURATION_BOUNDS_S, STEP_BOUNDS_S, Instrument
from sightline_telemetry.model.histogram import Bins
from sightline_telemetry.model.profile import SCORE_BOUNDS, NumericFeature
from sightline_telemetry.requests.request_kind import OTHER, OTHER_FAILED, RequestKind, other

KEPT_REASONS = ("asked", "failed", "slow", "exemplar")
"""Why a trace is kept, in the order in which the reasons are tried."""

MAX_KINDS = 2000
"""Largest number of kinds of requests with a series of their own, where a description expects none in particular."""

RING_FULL = "ring_full"
CHECKPOINT = "checkpoint"
OWN_PLACES = ("reading", RING_FULL, SLOTS_FULL, CHECKPOINT)
"""Where faults are noted in every service: an event that cannot be read, one that found no room in its ring, a request
without a slot, and what an observer has committed and its successor cannot read."""

OTHER_CLIENT = "_OTHER"
"""The client of requests without a name that has series of its own."""

STATUSES = ("cancelled", "2xx", "3xx", "4xx", "5xx")
"""How a request of a client was answered."""

MetricAttributes = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class NumberSeries:
    """One series of a counter. index: where its number stands among the integers."""

    instrument: Instrument
    attributes: MetricAttributes
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class HistogramSeries:
    """One series of a histogram. start: of its buckets among the integers. sum_index: of its sum among the sums."""

    instrument: Instrument
    attributes: MetricAttributes
    bounds: tuple[float, ...]
    start: int
    sum_index: int


@dataclass(slots=True)
class _Allocation:
    """Gives out positions, while a table is built."""

    numbers: list[NumberSeries] = field(default_factory=list)
    histograms: list[HistogramSeries] = field(default_factory=list)
    n_integers: int = 0
    n_sums: int = 0

    def take(self, n: int) -> int:
        """Returns the first of n integers."""
        self.n_integers += n
        return self.n_integers - n

    def counters(self, instrument: Instrument, each: Iterable[MetricAttributes]) -> int:
        """Adds counters side by side, and returns the position of the first."""
        found = list(each)
        start = self.take(len(found))
        for index, attributes in enumerate(found, start):
            self.numbers.append(NumberSeries(instrument, attributes, index))
        return start

    def alias(self, instrument: Instrument, attributes: MetricAttributes, index: int) -> None:
        """Adds a counter that shows a number which stands there already."""
        self.numbers.append(NumberSeries(instrument, attributes, index))

    def histogram(self, instrument: Instrument, attributes: MetricAttributes, bounds: tuple[float, ...]) -> int:
        """Adds a histogram, and returns where it stands among the histograms."""
        series = HistogramSeries(instrument, attributes, bounds, self.take(len(bounds) + 1), self.n_sums)
        self.n_sums += 1
        self.histograms.append(series)
        return len(self.histograms) - 1


class ModelSeries:
    """Where the counts of one model stand, and the bins that its values are sorted into.

    values, missing, low, high: first of the numeric features' integers. categories: (n_categorical,) firsts.
    outcomes: first of the outcomes, client by client; regression has one per client.
    scores: first bucket of the scores, then of the confidence.
    """

    def __init__(self, model: DescribedModel, allocation: _Allocation, clients: Sequence[MetricAttributes]) -> None:
        self.profile = model.profile
        own = model.id.attributes
        self._add_numeric(own, allocation)
        self._add_categorical(own, allocation)
        self._add_outputs(own, allocation, clients)
        self.errors = allocation.counters(
            instruments.PREDICTION_ERRORS, [{**own, "reason": reason} for reason in ERROR_REASONS]
        )
        add = allocation.histogram
        self.queue = allocation.histograms[add(instruments.QUEUE_DURATION, own, STEP_BOUNDS_S)]
        self.batch_size = allocation.histograms[add(instruments.BATCH_SIZE, own, BATCH_SIZE_BOUNDS)]
        self.steps = tuple(
            allocation.histograms[add(instruments.PREDICTION_DURATION, {**own, "step": step}, STEP_BOUNDS_S)]
            for step in model.steps
        )

    def _add_numeric(self, own: MetricAttributes, allocation: _Allocation) -> None:
        features = self.profile.numeric
        self.numeric_bins = Bins([feature.bounds for feature in features], [_range(feature) for feature in features])
        self.values, self.value_sums = allocation.n_integers, allocation.n_sums
        for feature in features:
            allocation.histogram(instruments.FEATURE_VALUE, {**own, "feature": feature.name}, feature.bounds)
        named = [{**own, "feature": feature.name} for feature in features]
        self.missing = allocation.counters(instruments.FEATURE_MISSING, named)
        for index, feature in enumerate(features, self.missing):
            if feature.imputed_by is not None:
                method = {**own, "feature": feature.name, "method": feature.imputed_by}
                allocation.alias(instruments.FEATURE_IMPUTED, method, index)
        self.low = allocation.counters(instruments.FEATURE_OUT_OF_RANGE, [{**each, "side": "low"} for each in named])
        self.high = allocation.counters(instruments.FEATURE_OUT_OF_RANGE, [{**each, "side": "high"} for each in named])

    def _add_categorical(self, own: MetricAttributes, allocation: _Allocation) -> None:
        categories = []
        for feature in self.profile.categorical:
            named = {**own, "feature": feature.name}
            values = feature.series_values
            start = allocation.counters(
                instruments.FEATURE_CATEGORIES, [{**named, "category": value} for value in values]
            )
            categories.append(start)
            missing = start + len(values) - 1
            allocation.alias(instruments.FEATURE_MISSING, named, missing)
            if feature.imputed_by is not None:
                allocation.alias(instruments.FEATURE_IMPUTED, {**named, "method": feature.imputed_by}, missing)
        self.categories = tuple(categories)

    def _add_outputs(self, own: MetricAttributes, allocation: _Allocation, clients: Sequence[MetricAttributes]) -> None:
        profile = self.profile
        outcomes: list[MetricAttributes] = [{**own, "outcome": outcome} for outcome in profile.outcomes] or [own]
        of_clients = [{**each, **client} for client in clients or ({},) for each in outcomes]
        self.outcomes = allocation.counters(instruments.PREDICTIONS, of_clients)
        self.scored = [index for index, _ in profile.scored]
        self.scores, self.score_sums = allocation.n_integers, allocation.n_sums
        for _, outcome in profile.scored:
            allocation.histogram(instruments.PREDICTION_SCORE, {**own, "outcome": outcome}, SCORE_BOUNDS)
        if self.scored:
            allocation.histogram(instruments.PREDICTION_CONFIDENCE, own, SCORE_BOUNDS)
        self.score_bins = Bins([SCORE_BOUNDS] * (len(self.scored) + 1))
        self.predicted, self.predicted_sum = allocation.n_integers, allocation.n_sums
        predicted = profile.predicted_values
        if predicted is not None:
            allocation.histogram(instruments.PREDICTION_SCORE, own, predicted.bounds)
        self.predicted_bins = Bins([predicted.bounds] if predicted is not None else [])


class SeriesTable:
    """All series of a description, by their place in a `Counts`.

    n_integers, n_sums: the size of the fixed part; the durations of requests stand behind it, kind by kind.
    """

    N_DURATION = len(DURATION_BOUNDS_S) + 1

    def __init__(self, description: Description) -> None:
        self.description = description
        self.digest = description.digest
        allocation = _Allocation()
        named = (*description.clients, OTHER_CLIENT) if description.clients else ()
        clients = [{CLIENT: name} for name in named]
        self.models = tuple(ModelSeries(model, allocation, clients) for model in description.models)
        self.fault_places = tuple(dict.fromkeys((*description.fault_places, *OWN_PLACES)))
        self.faults = allocation.counters(instruments.FAULTS, [{"place": each} for each in self.fault_places])
        self.refused_reasons = REFUSED_REASONS if description.routes else ()  # without routes nothing is served
        refused = [{"reason": reason} for reason in self.refused_reasons]
        self.refused = allocation.counters(instruments.CONNECTIONS_REFUSED, refused)
        reasons = [{"reason": reason} for reason in KEPT_REASONS]
        self.kept = allocation.counters(instruments.TRACES_KEPT, reasons)
        self.over_budget = allocation.counters(instruments.TRACES_OVER_BUDGET, reasons)
        self._clients = {name.encode(): index for index, name in enumerate(description.clients)}
        self.requests = allocation.counters(
            instruments.CLIENT_REQUESTS, [{**client, "status": status} for client in clients for status in STATUSES]
        )
        self.numbers = tuple(allocation.numbers)
        self.histograms = tuple(allocation.histograms)
        self.n_integers, self.n_sums = allocation.n_integers, allocation.n_sums
        self.kinds = (*description.expected, OTHER, OTHER_FAILED)
        self._expected = {kind[:3]: kind for kind in description.expected}

    def counted(self, kind: RequestKind) -> RequestKind:
        """Returns the kind under which a request is counted.

        That is the expected kind with its method, route and status, or the one that all others share. Where none is
        expected, every kind is counted, without what a client chooses freely.
        """
        if self._expected:
            return self._expected.get(kind[:3]) or other(kind.status)
        return RequestKind(*kind[:3])

    def client(self, name: bytes) -> int:
        """Returns the place of a client's series among those of all clients; 0 if no series names a client."""
        return self._clients.get(name, len(self._clients))


def _range(feature: NumericFeature) -> tuple[float, float] | None:
    return (feature.minimum, feature.maximum) if sum(feature.counts) else None
