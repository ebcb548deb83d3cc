"""The flights of July to December as request bodies, in the order of the timetable."""

from datetime import datetime

import pandas as pd

from service.bundle import SampleRow
from service.demo.flights import FEATURES, load_flights, replay_months

_CHUNK = 2000


class FlightStream:
    """Gives flights out in time order, and begins anew after the last one.

    now: the scheduled departure of the next flight. rounds: how often the year was gone through.
    """

    def __init__(self, flights: pd.DataFrame | None = None) -> None:
        self._flights = replay_months(load_flights()) if flights is None else flights
        self._next = 0
        self._chunk: list[SampleRow] = []
        self.rounds = 0

    @property
    def now(self) -> datetime:
        """Where in the year the stream is."""
        moment: pd.Timestamp = self._flights["scheduled"].iloc[(self._next - len(self._chunk)) % len(self._flights)]
        return moment.to_pydatetime()

    def take(self, n_rows: int) -> list[SampleRow]:
        """The next n_rows flights; a missing value is None."""
        while len(self._chunk) < n_rows:
            if self._next >= len(self._flights):
                self._next = 0
                self.rounds += 1
            rows = self._flights[list(FEATURES)].iloc[self._next : self._next + _CHUNK].astype(object)
            columns = (rows[name].where(rows[name].notna(), None) for name in FEATURES)
            self._chunk += [dict(zip(FEATURES, row, strict=True)) for row in zip(*columns, strict=True)]
            self._next += len(rows)
        taken, self._chunk = self._chunk[:n_rows], self._chunk[n_rows:]
        return taken
