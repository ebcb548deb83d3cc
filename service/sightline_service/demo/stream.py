"""Reads the flights of July to December as rows of requests, in the order of the timetable."""

from collections.abc import Iterator
from datetime import datetime
from itertools import cycle, islice

import pandas as pd

from sightline_service.bundles.bundle import SampleRow
from sightline_service.demo.flights import FEATURES, TARGET, load_flights, replay_months

_CHUNK = 2000


class FlightStream:
    """Returns flights in the order of time, and begins again after the last one."""

    def __init__(self, flights: pd.DataFrame | None = None) -> None:
        self._flights = replay_months(load_flights()) if flights is None else flights
        self._rows = _endless(self._flights)
        self._n_taken = 0

    @property
    def now(self) -> datetime:
        """Returns the scheduled departure of the next flight."""
        moment: pd.Timestamp = self._flights["scheduled"].iloc[self._n_taken % len(self._flights)]
        return moment.to_pydatetime()

    def take(self, n_rows: int) -> list[SampleRow]:
        """Returns the next n_rows flights; a missing value is None."""
        return [row for row, _ in self.take_labelled(n_rows)]

    def take_labelled(self, n_rows: int) -> list[tuple[SampleRow, str]]:
        """Returns the next n_rows flights, each with its label, in time or late, which is known only later."""
        self._n_taken += n_rows
        return list(islice(self._rows, n_rows))


def _endless(flights: pd.DataFrame) -> Iterator[tuple[SampleRow, str]]:
    for start in cycle(range(0, len(flights), _CHUNK)):
        part = flights.iloc[start : start + _CHUNK]
        rows = part[list(FEATURES)].astype(object)
        yield from zip(rows.where(rows.notna(), None).to_dict("records"), part[TARGET].tolist(), strict=True)
