"""Fails a test that leaves a thread or a child process behind, for either can disturb the tests that follow.

A thread of an earlier test that draws from `random` while Hypothesis does makes Hypothesis fail, for instance.
What a fixture of a module or of the session started may live as long as that fixture, with the threads that it starts
itself. A process that replaces one of a fixture, of the same program, belongs to the fixture too: tests restart parts.
"""

import os
import threading
from collections.abc import Generator, Iterator
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import psutil
import pytest


class Leaks:
    """A plugin of pytest that compares the threads and child processes before and after each test.

    grace_s: how long a thread that was told to stop may take to end; the next test begins only then.
    """

    def __init__(self, grace_s: float = 5.0) -> None:
        self._grace_s = grace_s
        self._tolerated: set[threading.Thread | psutil.Process] = set()
        self._owned: dict[pytest.FixtureDef[Any], dict[threading.Thread | psutil.Process, str]] = {}
        self._parents: WeakKeyDictionary[threading.Thread, threading.Thread] = WeakKeyDictionary()
        self._start = threading.Thread.start

    def pytest_sessionstart(self) -> None:
        """Notes what runs before the first test, and from here on which thread starts which."""
        self._tolerated = set(_threads_and_processes())
        start, parents = self._start, self._parents

        def noting_start(self: threading.Thread) -> None:
            parents[self] = threading.current_thread()
            start(self)

        threading.Thread.start = noting_start  # type: ignore[method-assign]

    def pytest_sessionfinish(self) -> None:
        """Gives threads their own `start` back."""
        threading.Thread.start = self._start  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Notes what a fixture starts that outlives a test."""
        if fixturedef.scope == "function":
            return (yield)
        before = set(_threads_and_processes())
        result = yield
        self._owned[fixturedef] = {each: _program(each) for each in _threads_and_processes() if each not in before}
        return result

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Forgets what a fixture started: it has to be gone by now."""
        self._owned.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Fails the test if what it started, or a fixture that ended with it, still runs."""
        result = yield
        left = self._left()
        if left:
            self._tolerated.update(left)  # so that one test fails and not all that follow
            pytest.fail(f"still there after the test: {', '.join(map(str, left))}", pytrace=False)
        return result

    def _left(self) -> list[threading.Thread | psutil.Process]:
        deadline_s = monotonic() + self._grace_s
        return [
            each
            for each in _threads_and_processes()
            if not self._is_allowed(each) and not _ends_until(each, deadline_s)
        ]

    def _is_allowed(self, found: threading.Thread | psutil.Process) -> bool:
        allowed = self._tolerated.union(*self._owned.values())
        if isinstance(found, psutil.Process):
            return found in allowed or self._replaces_one(found)
        thread: threading.Thread | None = found
        while thread is not None and thread is not threading.main_thread():
            if thread in allowed:
                return True
            thread = self._parents.get(thread)
        return found is threading.main_thread()

    def _replaces_one(self, found: psutil.Process) -> bool:
        """Gives the process to the fixture that started one of the same program, if that one has ended."""
        program = _program(found)
        for owned in self._owned.values():
            for each, name in owned.items():
                if isinstance(each, psutil.Process) and name == program and not each.is_running():
                    del owned[each]
                    owned[found] = program
                    return True
        return False


def _threads_and_processes() -> Iterator[threading.Thread | psutil.Process]:
    yield from threading.enumerate()
    try:  # raises at once if there are no children, which is cheaper than a list of all processes of the machine
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    yield from psutil.Process().children()


def _program(found: threading.Thread | psutil.Process) -> str:
    """Returns the path of a process' program, or "" for a thread or a process that has ended."""
    if isinstance(found, threading.Thread):
        return ""
    try:
        return str(found.exe())
    except psutil.Error:
        return ""


def _ends_until(found: threading.Thread | psutil.Process, deadline_s: float) -> bool:
    timeout_s = max(0.0, deadline_s - monotonic())
    if isinstance(found, threading.Thread):
        found.join(timeout_s)
        return not found.is_alive()
    return False
