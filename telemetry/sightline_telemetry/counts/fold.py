"""Folds events into counts: the only place that counts.

A block of events is folded at once: rows of all requests of a model become one array, because counting one row in
numpy costs as much as counting a hundred.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline_telemetry.counts.counts import Counts, ForeignCountsError
from sightline_telemetry.counts.row_arrays import row_array
from sightline_telemetry.counts.series import MAX_KINDS, STATUSES, HistogramSeries, ModelSeries, SeriesTable
from sightline_telemetry.events.http_codes import HTTP_VERSIONS, METHODS, SCHEMES
from sightline_telemetry.events.layout import (
    BATCH,
    COUNTS,
    ERROR_REASONS,
    FAULT,
    IS_OWN_BATCH,
    NO_MODEL,
    NO_ROUTE,
    REFUSED,
    REQUEST,
    RawRows,
    RequestEvent,
    event_body,
    read_batch,
    read_request,
    type_of,
)
from sightline_telemetry.instruments import DURATION_BOUNDS_S
from sightline_telemetry.model.histogram import Codes, Floats
from sightline_telemetry.model.rows import Rows
from sightline_telemetry.requests.request_kind import RequestKind, other

_DURATION_BOUNDS = np.array(DURATION_BOUNDS_S)


def fold(events: Iterable[bytes], table: SeriesTable) -> Counts:
    """Returns what events add to the counts. Events that count nothing, such as log lines, add nothing.

    Raises ValueError, struct.error or IndexError for bytes that are no event.
    """
    block = Block(table)
    for event in events:
        if type_of(event) == REQUEST:
            block.add_request(read_request(event))
        else:
            block.add(event)
    return block.counts()


def request_kind(event: RequestEvent, routes: Sequence[str]) -> RequestKind:
    """Returns the kind of an ended request."""
    route = event.texts.route.decode("utf-8", "replace") if event.route == NO_ROUTE else routes[event.route]
    return RequestKind(METHODS[event.method], route, event.status, SCHEMES[event.scheme], HTTP_VERSIONS[event.version])


class Block:
    """Gathers events that were read already, and counts them together."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._fixed = np.zeros(table.n_integers, dtype=np.int64)
        self._sums = np.zeros(table.n_sums)
        self._durations: defaultdict[RequestKind, list[float]] = defaultdict(list)
        self._rows: defaultdict[tuple[int, int], list[RawRows | bytes]] = defaultdict(list)
        self._measured: defaultdict[HistogramSeries, list[float]] = defaultdict(list)
        self._others: list[Counts] = []

    def add_request(self, event: RequestEvent, kind: RequestKind | None = None) -> None:
        """Adds an ended request. kind: under which it is counted, if that is known already."""
        if kind is None:
            kind = self._table.counted(request_kind(event, self._table.description.routes))
        if event.model != NO_MODEL:
            self._table.models[event.model]  # raises IndexError before anything of the event is counted
        self._durations[kind].append(event.duration_s)
        client = self._table.client(event.texts.key)
        if self._table.description.clients:
            status = max(event.status // 100 - 1, 0)
            self._fixed[self._table.requests + client * len(STATUSES) + status] += 1
        if event.model == NO_MODEL:
            return
        if event.rows:
            self._rows[event.model, client].append(event.rows)
        if event.reason:
            errors = self._table.models[event.model].errors
            self._fixed[errors : errors + len(ERROR_REASONS)][event.reason - 1] += 1
        if event.flags & IS_OWN_BATCH:
            self.add_batch(event.model, event.batch_rows, event.marks, (event.marks[0] - event.queued_ns,))

    def add(self, event: bytes) -> None:
        """Adds an event that is no request."""
        kind = type_of(event)
        if kind == BATCH:
            self.add_batch(*read_batch(event))
        elif kind == COUNTS:
            self._add_counts(Counts.from_bytes(event_body(event), self._table.digest))
        elif kind == FAULT:
            self.add_fault(event_body(event).decode())
        elif kind == REFUSED:
            self._fixed[self._table.refused + self._table.refused_reasons.index(event_body(event).decode())] += 1

    def _add_counts(self, counts: Counts) -> None:
        table, n_kinds = self._table, len(counts.kinds)
        if (
            len(counts.integers) != table.n_integers + n_kinds * table.N_DURATION
            or len(counts.sums) != table.n_sums + n_kinds
        ):
            raise ForeignCountsError("counts of another length than their description has")
        self._others.append(counts)

    def add_fault(self, place: str) -> None:
        """Counts a fault of the telemetry. Raises ValueError for a place that is not known."""
        self._fixed[self._table.faults + self._table.fault_places.index(place)] += 1

    def add_kept(self, reason: int, *, is_over_budget: bool = False) -> None:
        """Counts a trace that was kept, or one over its allowance; reason: its place in KEPT_REASONS."""
        self._fixed[(self._table.over_budget if is_over_budget else self._table.kept) + reason] += 1

    def add_rows(self, model: int, rows: NDArray[Any], client: int = 0) -> None:
        """Counts rows of a model, as `row_dtype` lays them out. client: its place in the table."""
        series = self._table.models[model]
        self.add_numeric(series, np.ascontiguousarray(rows["numeric"].T))
        self.add_codes(series, rows["codes"].T)
        if series.profile.task == "regression":
            self.add_values(series, rows["value"], client)
        else:
            self.add_outcomes(series, rows["outcome"], rows["probabilities"] if series.scored else None, client)

    def add_numeric(self, series: ModelSeries, values: Floats, members: Sequence[int] | None = None) -> None:
        """Counts (n_features, n_rows) values, NaN where missing. members: indices of numeric features; None for all."""
        if not len(values):
            return
        binned, integers, n = series.numeric_bins.sort(values, members), self._fixed, len(series.profile.numeric)
        integers[series.values : series.values + len(binned.buckets)] += binned.buckets
        self._sums[series.value_sums : series.value_sums + n] += binned.sums
        for start, counted in ((series.missing, binned.missing), (series.low, binned.low), (series.high, binned.high)):
            integers[start : start + n] += counted

    def add_codes(self, series: ModelSeries, codes: Codes, members: Sequence[int] | None = None) -> None:
        """Counts (n_features, n_rows) codes. members: indices of categorical features; None for all."""
        features = series.profile.categorical
        for values, index in zip(codes, range(len(features)) if members is None else members, strict=True):
            start, n = series.categories[index], len(features[index].series_values)
            self._fixed[start : start + n] += np.bincount(values, minlength=n)

    def add_outcomes(self, series: ModelSeries, outcomes: Codes, probabilities: Floats | None, client: int = 0) -> None:
        """Counts (n_rows,) outcomes. probabilities: (n_rows, n_outcomes), or None if the model has none.

        The confidence is P(predicted outcome), not the largest P, because the model may use another threshold.
        """
        n = len(series.profile.outcomes)
        start = series.outcomes + client * n
        self._fixed[start : start + n] += np.bincount(outcomes, minlength=n)
        if probabilities is None or not series.scored:
            return
        scored = np.empty((len(series.scored) + 1, len(outcomes)))
        scored[:-1] = probabilities.T[series.scored]
        scored[-1] = probabilities[np.arange(len(outcomes)), outcomes]
        binned = series.score_bins.sort(scored)
        self._fixed[series.scores : series.scores + len(binned.buckets)] += binned.buckets
        self._sums[series.score_sums : series.score_sums + len(scored)] += binned.sums

    def add_values(self, series: ModelSeries, values: Floats, client: int = 0) -> None:
        """Counts (n_rows,) values of a regression."""
        binned = series.predicted_bins.sort(np.ascontiguousarray(values)[np.newaxis])
        self._fixed[series.outcomes + client] += len(values)
        self._fixed[series.predicted : series.predicted + len(binned.buckets)] += binned.buckets
        self._sums[series.predicted_sum] += binned.sums[0]

    def add_predicted(self, series: ModelSeries, rows: Rows) -> None:
        """Counts rows that are arrays already."""
        self.add_numeric(series, rows.numeric)
        self.add_codes(series, rows.codes)
        self.add_outputs(series, rows.outcomes, rows.probabilities, rows.values)

    def add_outputs(
        self, series: ModelSeries, outcomes: Codes | None, probabilities: Floats | None, values: Floats | None
    ) -> None:
        """Counts only outputs, shaped as in Rows, for models whose inputs are counted in the pipeline."""
        if outcomes is not None:
            self.add_outcomes(series, outcomes, probabilities)
        elif values is not None:
            self.add_values(series, values)

    def add_batch(self, model: int, n_rows: int, marks: Sequence[int], queued_ns: Sequence[int]) -> None:
        """Counts a run of a model; marks and queued_ns as in BatchEvent."""
        series, measured = self._table.models[model], self._measured
        measured[series.batch_size].append(float(n_rows))
        measured[series.queue].extend(waited / 1e9 for waited in queued_ns)
        for step, start, end in zip(series.steps, marks, marks[1:], strict=False):
            measured[step].append((end - start) / 1e9)

    def drop_misfits(self) -> int:
        """Leaves out the rows of requests that do not fit their model, and returns of how many requests."""
        n_dropped = 0
        for (model, client), parts in self._rows.items():
            fitting = self._fitting(model, parts)
            if fitting is None:
                each = [self._fitting(model, [part]) for part in parts]
                n_dropped += each.count(None)
                fitting = b"".join(filter(None, each))
            self._rows[model, client] = [fitting]
        return n_dropped

    def counts(self) -> Counts:
        """Returns the counts of all events that were added. Raises ValueError for rows that do not fit their model."""
        for (model, client), parts in self._rows.items():
            self.add_rows(model, row_array(self._table.description.models[model], parts), client)
        for series, values in self._measured.items():
            stop = series.start + len(series.bounds) + 1
            self._fixed[series.start : stop] += _buckets(np.array(series.bounds), values)
            self._sums[series.sum_index] += sum(values)
        counts = self._with_durations()
        for each in self._others:
            counts += each
        return counts

    def _fitting(self, model: int, parts: Sequence[RawRows | bytes]) -> bytes | None:
        """Returns rows in the layout of their model; None if some do not fit it."""
        described = self._table.description.models[model]
        size = described.row_layout.struct.size
        if any(isinstance(part, bytes) and len(part) % size for part in parts):
            return None
        try:
            rows, profile = row_array(described, parts), described.profile
        except (ValueError, TypeError):
            return None
        n_codes = [len(feature.series_values) for feature in profile.categorical]
        has_outcomes = described.row_layout.has_outcomes
        if (rows["codes"] < n_codes).all() and (not has_outcomes or (rows["outcome"] < len(profile.outcomes)).all()):
            return rows.tobytes()
        return None

    def _with_durations(self) -> Counts:
        known = dict.fromkeys(self._table.kinds)
        for kind in self._durations:
            if len(known) < MAX_KINDS:
                known.setdefault(kind)
        kinds = tuple(known)
        buckets = np.zeros((len(kinds), self._table.N_DURATION), dtype=np.int64)
        sums = np.zeros(len(kinds))
        place = {kind: index for index, kind in enumerate(kinds)}
        for kind, values in self._durations.items():
            at = place[kind if kind in place else other(kind.status)]
            buckets[at] += _buckets(_DURATION_BOUNDS, values)
            sums[at] += sum(values)
        integers = np.concatenate([self._fixed, buckets.ravel()])
        return Counts(self._table.digest, integers, np.concatenate([self._sums, sums]), kinds)


def _buckets(bounds: Floats, values: Sequence[float]) -> NDArray[np.intp]:
    return np.bincount(bounds.searchsorted(values, side="left"), minlength=len(bounds) + 1)
