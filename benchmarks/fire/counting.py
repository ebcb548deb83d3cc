"""Rows in answers against rows that are counted: without kills, with kills between requests, and with kills in them."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from time import monotonic, sleep, time

from rich.console import Console
from rich.progress import Progress

from benchmarks.fire.clients import Clients, Noted, flights
from benchmarks.fire.kills import Named, kill_worker
from benchmarks.fire.profile import FireProfile
from benchmarks.fire.prometheus import Prometheus, scraping
from benchmarks.fire.report import Report
from benchmarks.fire.service import N_WORKERS, ROWS, Service, serving
from tests.stack.polling import poll_until

CLIENTS = 16
SHARES = {1: 96, 32: 3, 500: 1}
"""Rows per request, and how many requests of a hundred have them."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of one scenario. n_lost: attempts of clients that got no whole answer.

    named: rows of the requests that slots of killed workers name and that no client received: the bound.
    unsent: the rows among them whose events were in a ring, and so must be counted.
    """

    answered: int
    scraped: int
    in_prometheus: int
    n_lost: int
    named: int
    unsent: int

    @property
    def surplus(self) -> int:
        """Rows that are counted and were not received."""
        return max(0, self.scraped - self.answered)

    @property
    def deficit(self) -> int:
        """Rows that were received and are not counted."""
        return max(0, self.answered - self.scraped)


class Counting:
    """Runs scenarios on one service and compares what clients and metrics know of each."""

    def __init__(self, service: Service, prometheus: Prometheus, profile: FireProfile, seed: int) -> None:
        self._service = service
        self._prometheus = prometheus
        self._profile = profile
        self._random = Random(seed)
        self._requests = [
            each
            for n_rows, share in SHARES.items()
            for each in self._random.choices(flights(service.port, n_rows), k=share)
        ]

    def tally(self, scenario: Callable[[], tuple[Noted, list[Named]]]) -> Tally:
        """Runs a scenario, and reads the metrics before and after it."""
        self._service.await_all()
        before = self._service.scrape().total(ROWS)
        noted, named = scenario()
        scraped = self._service.scrape().total(ROWS)  # the first that is answered: what was received is counted by then
        in_prometheus = self._prometheus.value_after(ROWS, time())
        assert not noted.refused, f"answers other than 200: {dict(noted.refused)}"
        return Tally(
            answered=noted.n_rows,
            scraped=scraped - before,
            in_prometheus=in_prometheus - before,
            n_lost=len(noted.lost),
            named=sum(noted.lost.get(each.trace_id, 0) for each in named),
            unsent=sum(noted.lost.get(each.trace_id, 0) for each in named if each.is_published),
        )

    def send(self) -> tuple[Noted, list[Named]]:
        """Sends without a kill."""
        with self._clients() as clients:
            self._until_enough(clients)
        return clients.noted, []

    def kill_between(self) -> tuple[Noted, list[Named]]:
        """Kills a worker and the observer while no request is in flight, and sends again."""
        first, _ = self.send()
        named = kill_worker(self._service, self._random.choice(self._service.serving()))
        self._service.signal_observer(signal.SIGKILL)
        self._service.await_all()
        second, _ = self.send()
        return first + second, named

    def fire(self, console: Console) -> tuple[Noted, list[Named]]:
        """Kills workers and observers at random moments, and stops the observer for a while, under full load."""
        named: list[Named] = []
        with self._clients() as clients, Progress(console=console, transient=True) as progress:
            task = progress.add_task("fire", total=self._profile.fire_s)
            start_s = monotonic()
            for at_s, what in self._schedule():
                while (now_s := monotonic() - start_s) < at_s:
                    progress.update(task, completed=now_s)
                    sleep(min(0.1, at_s - now_s))
                if what == "worker":
                    named += self._kill_any_worker()
                else:
                    self._service.signal_observer(signal.Signals[what])
            self._until_enough(clients)
        return clients.noted, named

    def _schedule(self) -> list[tuple[float, str]]:
        """Returns when a worker is killed, and when the observer gets which signal; no stopped observer is killed."""
        profile, uniform = self._profile, self._random.uniform
        stop_s = uniform(0.1, 0.5) * profile.fire_s
        worker_kills = [(uniform(0, profile.fire_s), "worker") for _ in range(profile.worker_kills)]
        kills_s = [uniform(0, profile.fire_s - profile.stopped_s) for _ in range(profile.observer_kills)]
        observer_kills = [(at_s if at_s < stop_s else at_s + profile.stopped_s, "SIGKILL") for at_s in kills_s]
        stop = [(stop_s, "SIGSTOP"), (stop_s + profile.stopped_s, "SIGCONT")]
        return sorted([*worker_kills, *observer_kills, *stop])

    def _kill_any_worker(self) -> list[Named]:
        serving = poll_until(self._service.serving, 60)
        return kill_worker(self._service, self._random.choice(serving))

    def _clients(self) -> Clients:
        return Clients(self._service.port, self._requests, CLIENTS, self._random.randrange(1_000_000))

    def _until_enough(self, clients: Clients) -> None:
        poll_until(lambda: clients.n_rows >= self._profile.rows, 600)


def measure(profile: FireProfile, console: Console, seed: int) -> Report:
    """Runs the three scenarios on one service, which a real Prometheus scrapes all the while."""
    report = Report(
        f"Rows in answers, and rows counted: {N_WORKERS} workers, {CLIENTS} clients that retry, seed {seed}",
        (
            "scenario",
            "answered",
            "scrape",
            "Prometheus",
            "counted, not received",
            "unsent by slots",
            "bound by slots",
            "received, not counted",
            "attempts lost",
        ),
    )
    with serving() as service, scraping(service.port) as prometheus:
        counting = Counting(service, prometheus, profile, seed)
        scenarios: dict[str, Callable[[], tuple[Noted, list[Named]]]] = {
            "no kills": counting.send,
            "kills with nothing in flight": counting.kill_between,
            "kills under load": partial(counting.fire, console),
        }
        for title, scenario in scenarios.items():
            add(report, title, counting.tally(scenario))
        falls = prometheus.value(f"sum(resets({ROWS}[1h]))")
        report.require(f"no series falls; Prometheus saw {falls} falls", falls == 0)
    return report


def add(report: Report, title: str, tally: Tally) -> None:
    """Adds a scenario, and what it breaks."""
    report.add(
        title,
        tally.answered,
        tally.scraped,
        tally.in_prometheus,
        tally.surplus,
        tally.unsent,
        tally.named,
        tally.deficit,
        tally.n_lost,
    )
    report.require(f"{title}: what was received is counted", tally.deficit == 0)
    report.require(f"{title}: Prometheus has what a scrape has", tally.in_prometheus == tally.scraped)
    report.require(f"{title}: what is counted and was not received was in flight", tally.surplus <= tally.named)
    report.require(f"{title}: what slots name as published is counted", tally.unsent <= tally.surplus)
