"""Windows to try drift rules on: independent rows, and real flights in the order of time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sightline_service.demo.flights import NUMERIC, load_flights
from sightline_telemetry.model.histogram import Floats

SIZES = (300, 1_000, 10_000)
MOST_WINDOWS = {300: 50, 1_000: 50, 10_000: 16}
N_FEATURES = 20
N_REFERENCE = 50_000


@dataclass(frozen=True, slots=True)
class DriftCase:
    """A reference in its order, (n_rows, n_features), and windows to judge, (n_windows, n, n_features); NaN: missing.

    past: windows of the reference, as long as those to judge; where rows have no time there are none.
    """

    rows: str
    change: str
    reference: Floats
    windows: Floats
    past: Floats | None = None

    @property
    def size(self) -> int:
        """Rows in a window."""
        return int(self.windows.shape[1])


def independent(random: np.random.Generator) -> Iterator[DriftCase]:
    """Twenty normal features, independent rows: unchanged, shifted, spread wider."""
    reference = random.normal(size=(N_REFERENCE, N_FEATURES))
    for size in SIZES:
        windows = random.normal(size=(MOST_WINDOWS[size], size, N_FEATURES))
        yield DriftCase("independent", "none", reference, windows)
        yield DriftCase("independent", "mean + 0.2 sd", reference, windows + 0.2)
        yield DriftCase("independent", "sd x 1.25", reference, windows * 1.25)


def flights() -> Iterator[DriftCase]:
    """The numeric features of 2013's flights in the order of time.

    Every other window of the year is training, the rest is judged: nothing but the hours and days differs. Then
    July to December judged by January to June: the seasons are others.
    """
    year = load_flights()
    values = year[list(NUMERIC)].to_numpy(np.float64)
    half = int((year["scheduled"].dt.month <= 6).sum())
    for size in SIZES:
        whole = _cut(values, size)
        known, judged = whole[::2], _spread(whole[1::2], MOST_WINDOWS[size])
        reference = known.reshape(-1, values.shape[1])
        sd = np.nanstd(reference, axis=0)
        yield DriftCase("flights", "none", reference, judged, known)
        yield DriftCase("flights", "mean + 0.2 sd", reference, judged + 0.2 * sd, known)
        yield DriftCase("flights", "mean + 1 sd", reference, judged + sd, known)
        before, after = values[:half], values[half:]
        yield DriftCase(
            "flights", "other seasons", before, _spread(_cut(after, size), MOST_WINDOWS[size]), _cut(before, size)
        )


def _cut(values: Floats, size: int) -> Floats:
    n_windows = len(values) // size
    return values[: n_windows * size].reshape(n_windows, size, -1)


def _spread(windows: Floats, most: int) -> Floats:
    """At most so many windows, evenly over all of them."""
    chosen: Floats = windows[np.unique(np.linspace(0, len(windows) - 1, most).round().astype(int))]
    return chosen
