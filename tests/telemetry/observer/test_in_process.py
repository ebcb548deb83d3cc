"""An observer in the process that it observes: each reading has all that ended before, and stopping loses nothing."""

import json
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.events.layout import IS_ASKED, batch_event
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import BATCH_SIZE, PREDICTIONS, REQUEST_DURATION
from sightline_telemetry.observer.in_process import InProcessObserver
from sightline_telemetry.observer.observer import ObserverOptions
from sightline_telemetry.requests.recording import EventList
from tests.telemetry.counted import Counted
from tests.telemetry.rows import random_rows
from tests.telemetry.serving import ENDED, describe, predicted, written

pytestmark = pytest.mark.usefixtures("no_otel_variables")


class Observed:
    """A process that observes itself, as a guest unless options say otherwise."""

    def __init__(self, model: DescribedModel, options: ObserverOptions | None = None) -> None:
        self.events = EventList()
        self.process = InProcessObserver(
            self.events,
            describe(model),
            options or ObserverOptions(is_guest=True, logs_requests=False),
            Faults(self.events.write_aside),
        )

    def counted(self) -> Counted:
        """The counts so far."""
        observer = self.process.observer
        return Counted(observer.table, observer.counts)

    def scrape(self) -> str:
        """The text of a scrape."""
        return self.process.observer.providers.scrape.render("")[0].decode()


@pytest.fixture
def observed(model: DescribedModel) -> Observed:
    """An observer that was not started, so that only readings fold."""
    made = Observed(model)
    made.process.observer.providers.start()
    return made


def test_a_scrape_sees_every_request_before_it(observed: Observed, model: DescribedModel) -> None:
    """Requests that still wait to be counted together are counted before a read."""
    for seed in range(5):
        observed.events.write(predicted(model, random_rows(3, seed)[0]))
        text = observed.scrape()
        assert sum(observed.counted().numbers(PREDICTIONS).values()) == 3 * (seed + 1)
        counts = [line for line in text.splitlines() if line.startswith(f"{REQUEST_DURATION.prometheus_name}_count")]
        assert [line.rpartition(" ")[2] for line in counts if 'http_route="/",' in line] == [str(seed + 1)]


@pytest.mark.slow
def test_its_thread_folds_without_a_reader(model: DescribedModel) -> None:
    """What is written is counted soon, though nothing reads; when it stops, the rest is counted too."""
    observed = Observed(model)
    observed.process.start()
    observed.events.write(written(ENDED))
    end_s = monotonic() + 10
    while not observed.counted().requests():
        assert monotonic() < end_s
        sleep(0.01)
    for _ in range(7):
        observed.events.write(written(ENDED))
    observed.process.stop()
    assert sum(observed.counted().requests().values()) == 8


def test_threads_lose_nothing(observed: Observed) -> None:
    """Eight threads that write while another folds lose no event, and no reader sees a bucket without its sum."""

    def write() -> None:
        for _ in range(2000):
            observed.events.write_aside(batch_event(0, 2, (), ()))

    def read() -> bool:
        is_whole = True
        for _ in range(200):
            observed.process.fold()
            snapshot = observed.counted().histograms(BATCH_SIZE)[()]
            is_whole = is_whole and snapshot.sum == 2.0 * snapshot.count
        return is_whole

    with ThreadPoolExecutor(9) as threads:
        writing = [threads.submit(write) for _ in range(8)]
        assert threads.submit(read).result()
        for each in writing:
            each.result()
    observed.process.fold()
    assert observed.counted().histograms(BATCH_SIZE)[()].counts[1] == 16_000


def test_counts_that_were_folded_elsewhere_are_added_whole(observed: Observed, model: DescribedModel) -> None:
    """Counts of another thread are added at once, beside those of events."""
    observed.events.write(predicted(model, random_rows(10)[0]))
    observed.process.fold()
    observed.process.observer.add(observed.process.observer.counts)
    assert sum(observed.counted().numbers(PREDICTIONS).values()) == 20


def test_the_last_lines_are_written_when_it_stops(model: DescribedModel, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request has its line once the observer has stopped, and a kept trace is in the ring."""
    observed = Observed(model, ObserverOptions(has_ring=True))
    observed.process.start()
    for status in range(200, 230):
        observed.events.write(written(ENDED._replace(status=status, flags=IS_ASKED, trace_lo=status)))
    observed.process.stop()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["http.response.status_code"] for line in lines] == [*range(200, 230)]
    ring = observed.process.observer.ring
    assert ring is not None
    assert all(ring.holds(trace_id) for trace_id in range(200, 230))
