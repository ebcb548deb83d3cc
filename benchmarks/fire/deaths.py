"""A request that ends its worker, by a crash or as the kernel does when memory runs out: what is known of it then."""

import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import sleep
from typing import Any

from rich.console import Console

from benchmarks.fire.clients import Client, Clients, Request, request
from benchmarks.fire.profile import FireProfile
from benchmarks.fire.report import Report
from benchmarks.fire.service import N_WORKERS, ROWS, Service, serving
from tests.service.deadly import DEADLY_VALUES, TRUSTED, save_deadly_bundle
from tests.stack.polling import poll_until

CLIENTS = 16
_AROUND_S = 1.0
"""Clients send for so long before a death, and after the next worker serves."""


@dataclass(frozen=True)
class Evidence:
    """What is left of a request that killed its worker. span: of its trace. lines: of the log that name it."""

    span: dict[str, Any]
    lines: list[str]

    @property
    def error_type(self) -> str:
        """The error that its trace has."""
        found = [each for each in self.span["attributes"] if each["key"] == "error.type"]
        return str(found[0]["value"]["stringValue"]) if found else ""


def measure(_: FireProfile, console: Console, seed: int) -> Report:
    """Sends each deadly value once, while clients send others."""
    report = Report(
        f"A request that ends its worker: {N_WORKERS} workers, {CLIENTS} clients that retry",
        (
            "died of",
            "its trace has",
            "log lines",
            "counted deaths",
            "others answered",
            "refused",
            "attempts lost",
            "counted, not received",
            "unsent by the log",
        ),
    )
    environment = {"SIGHTLINE_TRUSTED_TYPES": TRUSTED, "SIGHTLINE_TRACE_RING": "true"}
    with TemporaryDirectory() as name, (Path(name) / "log").open("wb") as output:
        bundle = save_deadly_bundle(Path(name) / "bundle")
        with serving(bundle=bundle, stdout=output, environment=environment) as service:
            for value, number in DEADLY_VALUES.items():
                with console.status(f"waiting for {number.name}"):
                    _die(report, service, Path(name) / "log", (value, number), seed + number)
    return report


def _die(report: Report, service: Service, log: Path, death: tuple[float, signal.Signals], seed: int) -> None:
    """Sends one deadly request amid others, and adds what is known of it afterwards."""
    value, number = death
    before = service.scrape()
    deadly = Client(service.port, [], seed, Event())
    with Clients(service.port, [_of(service, 1.0), _of(service, -1.0)], CLIENTS, seed) as clients:
        sleep(_AROUND_S)
        was_answered = deadly.attempt(_of(service, value))
        service.await_all()
        sleep(_AROUND_S)
    after, noted = service.scrape(), clients.noted
    (trace_id,) = deadly.noted.lost
    evidence = _evidence(service, log, trace_id)
    deaths = "sightline_worker_deaths_total"
    n_deaths = after.total(deaths, number.name) - before.total(deaths, number.name)
    surplus = after.total(ROWS) - before.total(ROWS) - noted.n_rows
    n_unsent = _unsent(log)
    report.add(
        number.name,
        evidence.error_type,
        len(evidence.lines),
        n_deaths,
        noted.n_requests,
        noted.refused.total(),
        len(noted.lost),
        surplus,
        n_unsent,
    )
    report.require(f"{number.name}: the request had no answer", not was_answered)
    report.require(f"{number.name}: its trace names the signal", evidence.error_type == number.name)
    report.require(f"{number.name}: one line of the log names it", len(evidence.lines) == 1)
    report.require(f"{number.name}: the death is counted once", n_deaths == 1)
    report.require(f"{number.name}: no other request is refused", not noted.refused)
    report.require(f"{number.name}: what is counted and was not received was in flight", 0 <= surplus <= n_unsent)


def _of(service: Service, value: float) -> Request:
    return request(service.port, {"instances": [{"x": value}]}, 1)


def _evidence(service: Service, log: Path, trace_id: int) -> Evidence:
    """Returns trace and log lines of a request, as soon as both are there."""

    def find() -> Evidence | None:
        status, text = service.get(f"/traces/{trace_id:032x}")
        lines = [line for line in log.read_text().splitlines() if f"{trace_id:032x}" in line]
        if status != 200 or not lines:
            return None
        (span,) = [
            each for part in json.loads(text)["resourceSpans"] for s in part["scopeSpans"] for each in s["spans"]
        ]
        return Evidence(span, lines)

    found = poll_until(find, 20)
    assert found is not None
    return found


def _unsent(log: Path) -> int:
    """Returns how many counted requests of the last dead worker may not have been sent, as the log has it."""
    return int(re.findall(r'"in_flight":\d+,"unsent":(\d+)', log.read_text())[-1])
