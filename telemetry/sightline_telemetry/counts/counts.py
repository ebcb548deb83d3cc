"""Counts: a frozen value that is added, sent, and read series by series."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Self

import numpy as np

from sightline_telemetry.counts.series import MAX_KINDS, HistogramSeries, NumberSeries, SeriesTable
from sightline_telemetry.instruments import DURATION_BOUNDS_S
from sightline_telemetry.model.histogram import Floats, Integers, Snapshot
from sightline_telemetry.requests.request_kind import RequestKind, other

VERSION = 1

_HEAD = Struct("<4sI16s3I")
_MAGIC = b"SLCT"
_N_DURATION = SeriesTable.N_DURATION

Kinds = tuple[RequestKind, ...]


class ForeignCountsError(ValueError):
    """The bytes are no counts of this version, or counts of another description."""


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """The numbers of every series of one SeriesTable, at one moment or over one block of events.

    digest: of the description that they belong to.
    integers: (n_integers + n_kinds * N_DURATION,) counters and buckets. sums: (n_sums + n_kinds,) of histograms.
    kinds: of the requests whose durations stand behind the fixed part, in that order.
    """

    digest: bytes
    integers: Integers
    sums: Floats
    kinds: Kinds

    @classmethod
    def zero(cls, table: SeriesTable) -> Self:
        """Returns the counts of a service that has served nothing."""
        n_kinds = len(table.kinds)
        integers = np.zeros(table.n_integers + n_kinds * _N_DURATION, dtype=np.int64)
        return cls(table.digest, integers, np.zeros(table.n_sums + n_kinds), table.kinds)

    def __add__(self, other: "Counts") -> "Counts":
        """Adds series by series; kinds that only one of them has are taken over, as far as MAX_KINDS allows.

        Raises ForeignCountsError for counts of another description.
        """
        if self.digest != other.digest:
            raise ForeignCountsError("counts of two different descriptions cannot be added")
        if self.kinds == other.kinds:
            return Counts(self.digest, self.integers + other.integers, self.sums + other.sums, self.kinds)
        every = tuple(dict.fromkeys((*self.kinds, *other.kinds)))
        kinds = every[: max(MAX_KINDS, len(self.kinds))]
        one, two = self._with_kinds(kinds), other._with_kinds(kinds)
        return Counts(self.digest, one.integers + two.integers, one.sums + two.sums, kinds)

    def to_bytes(self) -> bytes:
        """Writes them with version and digest."""
        kinds = json.dumps(self.kinds, separators=(",", ":")).encode()
        head = _HEAD.pack(_MAGIC, VERSION, self.digest, len(self.integers), len(self.sums), len(kinds))
        return b"".join((head, self.integers.astype("<i8").tobytes(), self.sums.astype("<f8").tobytes(), kinds))

    @classmethod
    def from_bytes(cls, data: bytes, digest: bytes) -> Self:
        """Reads what `to_bytes` wrote. Raises ForeignCountsError for anything else, or for another digest."""
        if len(data) < _HEAD.size:
            raise ForeignCountsError(f"{len(data)} bytes are no counts")
        magic, version, written, n_integers, n_sums, n_kinds = _HEAD.unpack_from(data)
        if (magic, version, written) != (_MAGIC, VERSION, digest):
            raise ForeignCountsError("these are no counts of this version and description")
        sums_at = _HEAD.size + 8 * n_integers
        kinds_at = sums_at + 8 * n_sums
        if len(data) != kinds_at + n_kinds:
            raise ForeignCountsError(f"counts of {kinds_at + n_kinds} bytes were cut to {len(data)}")
        integers = np.frombuffer(data, "<i8", n_integers, _HEAD.size).astype(np.int64)
        sums = np.frombuffer(data, "<f8", n_sums, sums_at).astype(np.float64)
        return cls(digest, integers, sums, tuple(RequestKind(*kind) for kind in json.loads(data[kinds_at:])))

    def numbers(self, table: SeriesTable) -> Iterator[tuple[NumberSeries, int]]:
        """Yields every counter with its number."""
        values = self.integers.tolist()
        for series in table.numbers:
            yield series, values[series.index]

    def histograms(self, table: SeriesTable) -> Iterator[tuple[HistogramSeries, Snapshot]]:
        """Yields every histogram but those of durations."""
        values, sums = self.integers.tolist(), self.sums.tolist()
        for series in table.histograms:
            stop = series.start + len(series.bounds) + 1
            yield series, Snapshot(series.bounds, values[series.start : stop], sums[series.sum_index])

    def durations(self, table: SeriesTable) -> Iterator[tuple[RequestKind, Snapshot]]:
        """Yields the durations of each kind of request."""
        values, sums = self.integers[table.n_integers :].tolist(), self.sums[table.n_sums :].tolist()
        for index, kind in enumerate(self.kinds):
            start = index * _N_DURATION
            yield kind, Snapshot(DURATION_BOUNDS_S, values[start : start + _N_DURATION], sums[index])

    def _with_kinds(self, kinds: Kinds) -> "Counts":
        """Returns the same counts with the durations of other kinds; one that is not among them counts as other."""
        n_integers = len(self.integers) - len(self.kinds) * _N_DURATION
        n_sums = len(self.sums) - len(self.kinds)
        integers = np.zeros(n_integers + len(kinds) * _N_DURATION, dtype=np.int64)
        sums = np.zeros(n_sums + len(kinds))
        integers[:n_integers], sums[:n_sums] = self.integers[:n_integers], self.sums[:n_sums]
        place = {kind: index for index, kind in enumerate(kinds)}
        places = [place[kind if kind in place else other(kind.status)] for kind in self.kinds]
        durations = self.integers[n_integers:].reshape(-1, _N_DURATION)
        np.add.at(integers[n_integers:].reshape(-1, _N_DURATION), places, durations)
        np.add.at(sums[n_sums:], places, self.sums[n_sums:])
        return Counts(self.digest, integers, sums, kinds)
