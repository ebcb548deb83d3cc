"""What `sightline inflight` and `sightline tail` show: requests of a service that runs on this machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from rich.console import Console
from rich.table import Table

from sightline_service.errors import SettingsError
from sightline_telemetry.observer.answers import NoAnswerError, ask, follow
from sightline_telemetry.observer.sockets import find


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests are shown. status: its first digits, such as `5`. slower_than_s: seconds."""

    route: str = ""
    status: str = ""
    slower_than_s: float = 0.0

    def includes(self, request: dict[str, Any]) -> bool:
        """Returns True if an ended request is shown."""
        return (
            (not self.route or request["route"] == self.route)
            and str(request["status"]).startswith(self.status)
            and request["duration_s"] >= self.slower_than_s
        )


def show_in_flight(port: int, console: Console) -> None:
    """Prints the requests that run now, the oldest first. Raises SettingsError if there is no observer."""
    _, body = asyncio.run(_ask(_socket(port), {"what": "inflight"}))
    requests, now_ns = json.loads(body), perf_counter_ns()
    table = Table("worker", "request", "phase", "for s", "trace id", box=None, header_style="dim")
    for each in sorted(requests, key=lambda request: request["start_ns"]):
        running_s = (now_ns - each["start_ns"]) / 1e9
        name = f"{each['method']} {each['route']}"
        table.add_row(str(each["worker"]), name, each["phase"], f"{running_s:.3f}", each["trace_id"])
    console.print(table if requests else "no request is in flight")


def show_ended(port: int, wanted: Wanted, console: Console) -> None:
    """Prints requests as they end, until Ctrl-C. Raises SettingsError if there is no observer."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_print_ended(follow(str(_socket(port))), wanted, console))


async def _print_ended(requests: AsyncIterator[dict[str, Any]], wanted: Wanted, console: Console) -> None:
    try:
        async for each in requests:
            if "missed" in each:
                console.print(f"... {each['missed']} requests were left out: they end faster than they are read")
            elif wanted.includes(each):
                style = "red" if each["status"] >= 500 else "yellow" if each["status"] >= 400 else ""
                kept = f"  kept: {each['kept']}" if each["kept"] else ""
                line = f"{each['time']}  {each['duration_s'] * 1000:9.2f} ms  {each['status'] or 'gone'}  "
                console.print(f"{line}{each['name']}  {each['trace_id']}{kept}", style=style, soft_wrap=True)
    except NoAnswerError as error:
        raise SettingsError(str(error)) from error


async def _ask(path: Path, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        return await ask(str(path), question)
    except NoAnswerError as error:
        raise SettingsError(f"{error}; try again in a second") from error


def _socket(port: int) -> Path:
    path = find(port)
    if path is None:
        raise SettingsError(
            f"no observer of a service on port {port} answers on this machine: start `sightline serve` as the same "
            "user, with its observer process, and name its --port"
        )
    return path
