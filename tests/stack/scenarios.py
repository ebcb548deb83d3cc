"""Every scenario of `sightline simulate` on the running stack, with minutes for windows: which alerts fire, and when.

Run by `make scenarios`. Each scenario has a service of its own, whose model's version is the scenario's name, so that
all run side by side on one collector, one Prometheus and one trace store. From each alert the way goes on to an
exemplar of that service's requests and to its trace. Exits with 1 if another alert fires than the one expected.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline_service.bundles.bundle import load_bundle, save_bundle
from sightline_service.demo.scenarios import Scenario
from sightline_service.demo.training import train
from sightline_service.diagnostics.clients import Prometheus, StoredExemplar, TraceStore
from sightline_telemetry.instruments import REQUEST_DURATION
from tests.grafana.answers import VALUES, asked
from tests.stack.processes import Stack, free_port, service_process

WINDOW = "2m"
MINUTES = 6.0
RATE = 10.0

EXPECTED: Mapping[Scenario, frozenset[str]] = {
    Scenario.NORMAL: frozenset(),
    Scenario.DRIFT: frozenset({"FeatureDrift"}),
    Scenario.MISSING: frozenset({"FeatureMissing"}),
    Scenario.SLOW: frozenset({"LatencyBudgetBurning"}),
    Scenario.ERRORS: frozenset({"AvailabilityBudgetBurning"}),
}
_SLOWER_THAN_S = 0.5


@dataclass
class Watched:
    """One scenario under way: alert -> seconds from its first request until it fired; and where an alert led."""

    scenario: Scenario
    fired: dict[str, float] = field(default_factory=dict)
    exemplar: StoredExemplar | None = None
    spans: tuple[str, ...] = ()

    @property
    def is_as_expected(self) -> bool:
        """True if the expected alert fired and no other, and an exemplar leads to a trace."""
        return set(self.fired) == EXPECTED[self.scenario] and bool(self.spans)


class Watch:
    """Reads from Prometheus which alerts fire for which version, and follows exemplars to the trace store."""

    def __init__(self, prometheus: Prometheus, traces: TraceStore, scenarios: Sequence[Scenario]) -> None:
        self._prometheus = prometheus
        self._traces = traces
        self._started_s = time.time()
        self.watched = {scenario: Watched(scenario) for scenario in scenarios}
        self.elsewhere: dict[str, float] = {}
        """Alerts of no scenario: of the collector, of a process of another service."""

    def look(self) -> None:
        """Notes what fires at this moment."""
        elapsed_s = time.time() - self._started_s
        for sample in self._prometheus.query('ALERTS{alertstate="firing"}'):
            version = sample.labels.get("model_version") or sample.labels.get("service_name", "")
            fired = self.watched[Scenario(version)].fired if version in set(self.watched) else self.elsewhere
            fired.setdefault(sample.labels["alertname"], elapsed_s)

    def follow(self, watched: Watched) -> None:
        """From the metric that the scenario bends to an exemplar, and from there to the trace."""
        route = "/predict/random" if watched.scenario in (Scenario.SLOW, Scenario.ERRORS) else "/predict/model"
        selector = f'service_name="{watched.scenario}", http_route="{route}"'
        if watched.scenario is Scenario.ERRORS:
            selector += ', http_response_status_code="500"'
        exemplars = self._prometheus.exemplars(
            f"{REQUEST_DURATION.prometheus_name}_bucket{{{selector}}}", self._started_s, time.time()
        )
        if watched.scenario is Scenario.SLOW:
            exemplars = [exemplar for exemplar in exemplars if exemplar.value > _SLOWER_THAN_S]
        for exemplar in sorted(exemplars, key=lambda each: -each.timestamp_s):
            if spans := self._traces.trace(exemplar.trace_id):
                spans.sort(key=lambda span: (span.start_ns, -span.end_ns))
                watched.exemplar, watched.spans = exemplar, tuple(span.name for span in spans)
                return


@contextmanager
def _sending(url: str, scenario: Scenario, log: Path) -> Iterator[None]:
    """`sightline simulate` as a process of its own."""
    sightline = Path(sys.executable).with_name("sightline")
    command = [str(sightline), "simulate", url, "--scenario", scenario, "--rate", f"{RATE:g}"]
    with log.open("wb") as output:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield
        finally:
            running.terminate()
            running.wait(60)


def _bundle(folder: Path, scenario: Scenario) -> Path:
    """The demo's bundle with the scenario for its version."""
    save_bundle(replace(load_bundle(folder / "trained"), version=str(scenario)), folder / scenario / "bundle")
    return folder / scenario / "bundle"


def run(scenarios: Sequence[Scenario], minutes: float, window: str, console: Console) -> list[Watched]:
    """Runs scenarios side by side for so many minutes and returns what came of each."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="sightline-scenarios-")))
        console.log("training the demo's model")
        train(folder / "trained", lambda _: None)
        stack = running.enter_context(Stack(folder, window=window))
        for scenario in scenarios:
            port = free_port()
            environment = {"OTEL_SERVICE_NAME": str(scenario)}
            bundle = _bundle(folder, scenario)
            running.enter_context(service_process(stack, bundle, port, f"service-{scenario}", environment))
            log = folder / f"simulate-{scenario}.log"
            running.enter_context(_sending(f"http://127.0.0.1:{port}", scenario, log))
        prometheus = running.enter_context(Prometheus(stack.prometheus_url))
        watch = Watch(prometheus, running.enter_context(TraceStore(stack.traces_url)), scenarios)
        console.log(f"sending for {minutes:g} minutes; the window of the rules is {window}")
        _watch(watch, minutes, console)
        for watched in watch.watched.values():
            watch.follow(watched)
        _ask_dashboards(prometheus, console)
        if watch.elsewhere:
            console.print(f"alerts of no scenario: {', '.join(sorted(watch.elsewhere))}", style="red")
        return list(watch.watched.values())


def _watch(watch: Watch, minutes: float, console: Console) -> None:
    until_s = time.monotonic() + 60 * minutes
    known: set[tuple[Scenario, str]] = set()
    while time.monotonic() < until_s:
        watch.look()
        fired = {
            (each.scenario, alert): after for each in watch.watched.values() for alert, after in each.fired.items()
        }
        for (scenario, alert), after_s in fired.items():
            if (scenario, alert) not in known:
                console.log(f"{scenario}: {alert} fires after {after_s:.0f} s")
        known = set(fired)
        time.sleep(1)


def _ask_dashboards(prometheus: Prometheus, console: Console) -> None:
    """Every PromQL query of the dashboards, with the scenarios in the place of the service, and its series."""
    every = {**VALUES, "service": ".+"}
    table = Table("dashboard", "panel", "series", "query", title="what the dashboards show now")
    for query in asked():
        if query.language == "promql" and query.place == "panel":
            n = sum(isfinite(sample.value) for sample in prometheus.query(query.substituted(every)))
            table.add_row(query.dashboard, query.panel, f"{n:,}" if n else "[red]none[/]", escape(query.text[:80]))
    console.print(table)


def _table(results: Sequence[Watched]) -> Table:
    table = Table("scenario", "expected", "fired, after", "exemplar", "its trace", "")
    for watched in results:
        exemplar = watched.exemplar
        dot = f"{exemplar.value:.3f} s, {exemplar.trace_id}" if exemplar is not None else "none"
        fired = ", ".join(f"{alert}, {after:.0f} s" for alert, after in sorted(watched.fired.items())) or "none"
        expected = ", ".join(EXPECTED[watched.scenario]) or "none"
        verdict = "as expected" if watched.is_as_expected else "NOT AS EXPECTED"
        table.add_row(watched.scenario, expected, fired, dot, ", ".join(watched.spans) or "none", verdict)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; 0 if every scenario ended as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack.scenarios", description=__doc__)
    parser.add_argument("scenarios", nargs="*", type=Scenario, default=list(Scenario), help="all of them")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"how long to send ({MINUTES:g})")
    parser.add_argument("--window", default=WINDOW, help=f"what drift is judged over ({WINDOW})")
    options = parser.parse_args(arguments)
    console = Console(width=200)
    results = run(options.scenarios, options.minutes, options.window, console)
    console.print(_table(results))
    return 0 if all(watched.is_as_expected for watched in results) else 1


if __name__ == "__main__":
    sys.exit(main())
