"""Reads the flights of July to December as rows of requests, in the order of the timetable."""

from datetime import datetime

import pandas as pd

from sightline_service.bundles.bundle import SampleRow
from sightline_service.demo.flights import FEATURES, TARGET, load_flights, replay_months

_CHUNK = 2000


class FlightStream:
    """Returns flights in the order of time, and begins again after the last one.

    rounds: how often the last flight was passed.
    """

    def __init__(self, flights: pd.DataFrame | None = None) -> None:
        self._flights = replay_months(load_flights()) if flights is None else flights
        self._next = 0
        self._chunk: list[tuple[SampleRow, str]] = []
        self.rounds = 0

    @property
    def now(self) -> datetime:
        """The scheduled departure of the next flight."""
        moment: pd.Timestamp = self._flights["scheduled"].iloc[(self._next - len(self._chunk)) % len(self._flights)]
        return moment.to_pydatetime()

    def take(self, n_rows: int) -> list[SampleRow]:
        """Returns the next n_rows flights; a missing value is None."""
        return [row for row, _ in self.take_labelled(n_rows)]

    def take_labelled(self, n_rows: int) -> list[tuple[SampleRow, str]]:
        """Returns the next n_rows flights, each with its label, in time or late, which is known only later."""
        while len(self._chunk) < n_rows:
            if self._next >= len(self._flights):
                self._next = 0
                self.rounds += 1
            part = self._flights.iloc[self._next : self._next + _CHUNK]
            rows = part[list(FEATURES)].astype(object)
            columns = (rows[name].where(rows[name].notna(), None) for name in FEATURES)
            instances = (dict(zip(FEATURES, row, strict=True)) for row in zip(*columns, strict=True))
            self._chunk += zip(instances, part[TARGET].tolist(), strict=True)
            self._next += len(rows)
        taken, self._chunk = self._chunk[:n_rows], self._chunk[n_rows:]
        return taken
