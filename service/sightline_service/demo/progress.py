"""Runs traffic with a live line of its progress."""

import asyncio
from collections.abc import Callable
from math import isnan
from time import monotonic

from rich.console import Console

from sightline_service.demo.traffic import Traffic

_LINE_EVERY_S = 0.5
_LOG_EVERY_S = 10.0


async def run_shown(
    traffic: Traffic, duration_s: float | None, console: Console, moment: Callable[[float], str]
) -> None:
    """Runs traffic to its end, and shows its progress.

    moment: returns the beginning of a line, from the seconds since the start.
    """
    showing = asyncio.create_task(_show(traffic, console, moment))
    try:
        await traffic.run(duration_s)
    finally:
        showing.cancel()


def milliseconds(seconds: float) -> str:
    """Returns a duration in milliseconds, for people to read; `-` for nan."""
    return "-" if isnan(seconds) else f"{seconds * 1000:,.1f} ms"


async def _show(traffic: Traffic, console: Console, moment: Callable[[float], str]) -> None:
    """Keeps one line up to date on a terminal; elsewhere, as in a container's log, prints a line every 10 s."""
    start_s = monotonic()
    with console.status("") as status:
        while True:
            await asyncio.sleep(_LINE_EVERY_S if console.is_terminal else _LOG_EVERY_S)
            line = f"{moment(monotonic() - start_s)}   {_progress(traffic)}"
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line, highlight=False, soft_wrap=True)


def _progress(traffic: Traffic) -> str:
    tally = traffic.tally
    p50_s, p99_s = tally.quantiles_s(0.5, 0.99)
    failed = sum(count for status, count in tally.statuses.items() if not status.startswith("2"))
    return (
        f"{tally.statuses.total():,} requests   {tally.received.total():,} rows   "
        f"{failed:,} not answered with 200   p50 {milliseconds(p50_s)}   p99 {milliseconds(p99_s)}"
    )
