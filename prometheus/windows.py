"""One setting, the window, and every duration of the rules that follows from it."""

import re
from dataclasses import dataclass

SHORTEST_S = 30
"""Exports come every five or ten seconds: a rate over less than three of them is noise."""

LONGEST_STEP_S = 240
"""Prometheus forgets a sample after five minutes, so what is recorded has to come sooner than that."""

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """A long window, the short one that ends the alert soon after the fault, and the burn rate of both."""

    long_s: int
    short_s: int
    factor: float


@dataclass(frozen=True, slots=True)
class Windows:
    """Durations in seconds, all of them fractions of the window that drift is judged over.

    The window is a multiple of a day in production, because traffic has the shape of a day; tests take minutes.

    >>> day = Windows(parse("24h"))
    >>> [text(seconds) for seconds in (day.step_s, day.hold_s, day.minute_s, day.week_s)]
    ['4m', '1h', '1m', '7d']
    >>> [(text(burn.long_s), text(burn.short_s), burn.factor) for burn in day.burns]
    [('1h', '5m', 14.4), ('6h', '30m', 6.0), ('3d', '6h', 1.0)]
    """

    window_s: int

    def fraction(self, parts: float) -> int:
        """The window divided by so many parts, in whole seconds, and never too short for a rate."""
        return max(round(self.window_s / parts), SHORTEST_S)

    @property
    def step_s(self) -> int:
        """How often drift is judged, and what is recorded first, so that a long window adds up few samples."""
        return min(self.fraction(360), LONGEST_STEP_S)

    @property
    def hold_s(self) -> int:
        """How long a finding must last before it becomes a ticket."""
        return self.fraction(24)

    @property
    def minute_s(self) -> int:
        """How often the SLOs are judged."""
        return min(self.fraction(1440), LONGEST_STEP_S)

    @property
    def quarter_hour_s(self) -> int:
        """What saturation and the pipeline are judged over."""
        return self.fraction(96)

    @property
    def week_s(self) -> int:
        """Seven windows."""
        return 7 * self.window_s

    @property
    def burns(self) -> tuple[BurnWindow, ...]:
        """Windows and burn rates of Google's SRE workbook, chapter 5, at a window of a day; the last is a ticket."""
        return (
            BurnWindow(self.fraction(24), self.fraction(288), 14.4),
            BurnWindow(self.fraction(4), self.fraction(48), 6.0),
            BurnWindow(3 * self.window_s, self.fraction(4), 1.0),
        )


def parse(duration: str) -> int:
    """Seconds of a Prometheus duration of one unit. Raises ValueError for anything else, and below two minutes.

    >>> parse("24h"), parse("2m")
    (86400, 120)
    """
    match = re.fullmatch(r"(\d+)([dhms])", duration)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if seconds < 4 * SHORTEST_S:
        raise ValueError(f"a window is a number and one of d, h, m, s, and two minutes at least, not {duration!r}")
    return seconds


def text(seconds: int) -> str:
    """A duration as Prometheus writes it, in its largest whole unit.

    >>> text(86_400), text(90), text(240)
    ('1d', '90s', '4m')
    """
    unit = next(unit for unit, size in _UNITS_S.items() if seconds % size == 0)
    return f"{seconds // _UNITS_S[unit]}{unit}"
