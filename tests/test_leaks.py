"""What outlives a test fails that test, and what belongs to a fixture fails the test with which the fixture ends."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_CONFTEST = """
import sys

sys.path.insert(0, {root!r})
from tests import leaks

def pytest_configure(config):
    config.pluginmanager.register(leaks.Leaks(grace_s=0.2))
"""
_START = """
import subprocess, sys, threading, time
import pytest

def start(stop):
    thread = threading.Thread(target=stop.wait, name="left behind", daemon=True)
    thread.start()
    return thread
"""


def outcomes(pytester: pytest.Pytester, source: str) -> dict[str, int]:
    """Returns how many tests passed, failed and had an error, of a file run with the plugin."""
    pytester.makeconftest(_CONFTEST.format(root=str(Path(__file__).parents[1])))
    pytester.makepyfile(_START + source)
    return pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider").parseoutcomes()


def test_a_thread_left_behind_is_an_error_of_its_test(pytester: pytest.Pytester) -> None:
    """The test that left a thread has the error, the next one has none."""
    source = """
stop = threading.Event()

def test_leaves():
    start(stop)

def test_follows():
    stop.set()
"""
    assert outcomes(pytester, source) == {"passed": 2, "errors": 1}


def test_a_process_left_behind_is_an_error_of_its_test(pytester: pytest.Pytester) -> None:
    """A child process that runs on is an error, and one that has ended is not."""
    source = """
started = []

def test_leaves():
    started.append(subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE))

def test_follows():
    started[0].communicate()
"""
    assert outcomes(pytester, source) == {"passed": 2, "errors": 1}


def test_a_fixture_keeps_what_it_started_and_ends_it(pytester: pytest.Pytester) -> None:
    """A module's fixture and the thread that its own thread starts later live as long as the fixture."""
    source = """
@pytest.fixture(scope="module")
def service():
    stop, again = threading.Event(), threading.Event()
    children = []

    def run():
        again.wait()
        children.append(start(stop))
        stop.wait()

    thread = threading.Thread(target=run)
    thread.start()
    yield again
    stop.set()
    thread.join()
    children[0].join()

def test_first(service):
    service.set()

def test_second(service):
    pass
"""
    assert outcomes(pytester, source) == {"passed": 2}


def test_a_fixture_that_leaves_a_thread_is_an_error(pytester: pytest.Pytester) -> None:
    """What a module's fixture does not end is an error of the last test that uses it."""
    source = """
@pytest.fixture(scope="module")
def service():
    threading.Thread(target=time.sleep, args=[1]).start()

def test_only(service):
    pass
"""
    assert outcomes(pytester, source) == {"passed": 1, "errors": 1}


def test_a_process_of_a_fixture_may_be_restarted(pytester: pytest.Pytester) -> None:
    """A test may end a fixture's process and start it once more; a second one beside it is an error."""
    source = """
def run():
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)

@pytest.fixture(scope="module")
def processes():
    running = [run()]
    yield running
    for each in running:
        each.communicate()

def test_restarts(processes):
    processes.pop().communicate()
    processes.append(run())

def test_runs_another(processes):
    processes.append(run())

def test_last(processes):
    pass
"""
    assert outcomes(pytester, source) == {"passed": 3, "errors": 1}
