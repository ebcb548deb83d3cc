"""An export gives way to others every half millisecond."""

import pytest

from sightline_telemetry.export.gil_yield import GilYield, YieldingList


def test_a_break_comes_after_half_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten items that take 0.2 ms each, a reader takes a break after three, six and nine."""
    now_s = 0.0
    seen: list[int] = []
    breaks: list[int] = []
    monkeypatch.setattr("sightline_telemetry.export.gil_yield.perf_counter", lambda: now_s)
    monkeypatch.setattr("sightline_telemetry.export.gil_yield.sleep", lambda _: breaks.append(len(seen)))
    for item in YieldingList(range(10), GilYield()):
        seen.append(item)
        now_s += 0.0002
    assert (seen, breaks) == ([*range(10)], [3, 6, 9])
