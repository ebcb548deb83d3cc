"""Workers that a server of the test's own forks: seats, what happens without one, and calls by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.profile_file import save_profile
from sightline_telemetry.observer.forked_workers import observe
from tests.telemetry.observer.test_gunicorn import deaths_in, outcomes_in
from tests.telemetry.sink import Sink

pytestmark = [pytest.mark.usefixtures("no_otel_variables")]

ROOT = Path(__file__).parents[3]

# A server whose workers measure at the same time, and end when all have.
_SERVER = """
import json, os, signal, time
from pathlib import Path
import psutil
from sightline_telemetry import Measurement, load_profile, observe

profile = load_profile(Path("profile.json"))
measure = Measurement("m", "1", profile)
rows = {"age": range(3), "gain": [0.0] * 3, "city": ["Bern"] * 3}
service = observe([("other", "1", profile), ("m", "1", profile)], workers=1)

def observers():
    return [child for child in psutil.Process().children() if "sightline_telemetry.observer.process" in child.cmdline()]

def fork(work):
    child = os.fork()
    if not child:
        service.enter()
        work()
        os._exit(0)
    return child

def fork_all(n, work, killed_by=signal.SIGKILL):
    '''Forks n workers, lets them run until each has done its work, then kills them.'''
    read, write = os.pipe()
    def run():
        work()
        os.write(write, b".")
        time.sleep(60)
    children = [fork(run) for _ in range(n)]
    for _ in children:
        os.read(read, 1)
    for child in children:
        os.kill(child, killed_by)
        service.ended(child, os.waitpid(child, 0)[1])

def scrape(measure=measure):
    read, write = os.pipe()
    def answer():
        for _ in range(600):
            try:
                return os.write(write, measure.scrape()[0])
            except ConnectionError:
                time.sleep(0.05)
    child = fork(answer)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    service.ended(child, os.waitpid(child, 0)[1])
    return text

def measure_often(n):
    for _ in range(n):
        measure(rows, ["yes", "yes", "no"])

"""


def run(work: str, profile: ReferenceProfile, folder: Path) -> tuple[Any, str]:
    """Runs the server with lines that set `result`; returns that, and what it wrote to stderr."""
    save_profile(profile, folder / "profile.json")
    done = subprocess.run(
        [sys.executable, "-c", f"{_SERVER}{work}\nPath('result').write_text(json.dumps(result))"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "XDG_RUNTIME_DIR": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("sightline-*/*")), "the observer's socket is still there"
    return json.loads((folder / "result").read_text()), done.stderr


@pytest.mark.slow
def test_workers_without_a_seat_of_their_own_are_counted(profile: ReferenceProfile, tmp_path: Path) -> None:
    """Eight workers that are killed, of which five share a seat, lose no count, though the rings were full too."""
    scraped, stderr = run(
        "service.start()\n"
        "while not observers(): time.sleep(0.01)\n"
        "(observer,) = observers()\n"
        "observer.suspend()\n"
        "fork_all(8, lambda: measure_often(200))\n"
        "observer.resume()\n"
        "fork_all(2, lambda: measure_often(1))\n"
        "result = scrape()",
        profile,
        tmp_path,
    )
    measured = [line for line in scraped.splitlines() if 'model_name="m"' in line]
    assert outcomes_in("\n".join(measured)) == {"yes": 2 * 1602, "no": 1602}
    assert deaths_in(scraped) == {"SIGKILL": 10}
    assert stderr.count("all 3 seats are taken") == 5
    assert 'sightline_faults_total{place="ring_full"} 0.0' in scraped


@pytest.mark.slow
def test_what_the_observer_does_not_know_counts_for_itself(profile: ReferenceProfile, tmp_path: Path) -> None:
    """A measurement of a model that was not named is counted in its worker alone, which logs a warning."""
    (text, others), stderr = run(
        "service.start()\n"
        "unknown = Measurement('m', '2', profile)\n"
        "fork_all(1, lambda: unknown(rows, ['yes'] * 3), signal.SIGTERM)\n"
        "def count():\n"
        "    unknown(rows, ['yes'] * 3)\n"
        "    Path('mine').write_bytes(unknown.scrape()[0])\n"
        "fork_all(1, count, signal.SIGTERM)\n"
        "result = Path('mine').read_text(), scrape()",
        profile,
        tmp_path,
    )
    assert outcomes_in(text) == {"no": 0, "yes": 3}
    assert 'model_version="2"' not in others
    assert deaths_in(others) == {}
    assert stderr.count("no such model with this profile") == 2


@pytest.mark.slow
def test_without_a_start_workers_count_for_themselves(profile: ReferenceProfile, tmp_path: Path) -> None:
    """A server that forgets to start the observer serves as before, and each worker logs what is missing."""
    found, stderr = run(
        "measure_often(0)\n"
        "def count():\n"
        "    measure_often(1)\n"
        "    Path('mine').write_bytes(measure.scrape()[0])\n"
        "fork_all(1, count)\n"
        "result = Path('mine').read_text()",
        profile,
        tmp_path,
    )
    assert outcomes_in(found) == {"no": 1, "yes": 2}
    assert "`when_ready` (or `start`) has to run in the master" in stderr


@pytest.mark.slow
def test_a_fault_in_a_worker_is_in_the_scrape_of_all(profile: ReferenceProfile, tmp_path: Path) -> None:
    """Data without their features raise nothing in a worker; the fault is counted, and the rows are not."""
    scraped, stderr = run(
        "service.start()\nfork_all(2, lambda: measure({'age': [1]}, ['no']))\nresult = scrape()", profile, tmp_path
    )
    assert 'sightline_faults_total{place="measurement"} 2.0' in scraped
    assert set(outcomes_in(scraped).values()) == {0}
    assert stderr.count("telemetry fault in measurement") == 2


@pytest.mark.slow
def test_a_child_of_a_worker_counts_for_itself(profile: ReferenceProfile, tmp_path: Path) -> None:
    """A process that a worker forks writes nothing into its worker's ring."""
    found, _ = run(
        "service.start()\n"
        "def fork_again():\n"
        "    measure_often(1)\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        measure_often(5)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "fork_all(1, fork_again)\n"
        "result = scrape()",
        profile,
        tmp_path,
    )
    measured = [line for line in found.splitlines() if 'model_name="m"' in line]
    assert outcomes_in("\n".join(measured)) == {"no": 1, "yes": 2}


@pytest.mark.slow
def test_an_observer_killed_at_the_end_is_started_once_more(
    profile: ReferenceProfile, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed observer has not exported leaves though the server ends at the same moment."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "600000")
    run(
        "import sightline_telemetry.observer.keeper as keeper\n"
        "keeper._GRACE_S = 60\n"
        "service.start()\n"
        "while not observers(): time.sleep(0.01)\n"
        "fork_all(2, lambda: measure_often(4))\n"
        "observers()[0].kill()\n"
        "result = None",
        profile,
        tmp_path,
    )
    (metrics,) = sink.last().values()
    assert sum(point.as_int for point in metrics["ml.predictions"].sum.data_points) == 24


@pytest.mark.slow
def test_a_configuration_that_runs_again_has_the_same_observer(profile: ReferenceProfile, tmp_path: Path) -> None:
    """A second call returns what the first has made, and warns if it names other models."""
    result, stderr = run(
        "again = observe([('other', '1', profile), ('m', '1', profile)], workers=4)\n"
        "changed = observe([('m', '2', profile)], workers=4)\n"
        "result = again is service is changed",
        profile,
        tmp_path,
    )
    assert result is True
    assert stderr.count("restart the server to change them") == 1


def test_an_observer_of_nothing_is_refused(profile: ReferenceProfile) -> None:
    """Without a model, or without a worker, a configuration fails when it is read."""
    with pytest.raises(ValueError, match="no model to observe"):
        observe([], workers=4)
    with pytest.raises(ValueError, match="at least one worker"):
        observe([("m", "1", profile)], workers=0)
