"""Processes of workers, whose ids change while they are read."""

import os
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from sightline_telemetry import instruments
from sightline_telemetry.export.processes import Processes


class Changing:
    """Words whose process ends, and is replaced, while it is read."""

    def __init__(self, *pids: int) -> None:
        self._pids = list(pids)

    @property
    def pid(self) -> int:
        """The id of the process that runs in this moment."""
        return self._pids.pop(0) if len(self._pids) > 1 else self._pids[0]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the processes that were opened."""
    found: list[int] = []

    def process(pid: int) -> Any:
        found.append(pid)
        return SimpleNamespace(pid=pid, memory_info=lambda: SimpleNamespace(rss=1000 + pid))

    monkeypatch.setattr(psutil, "Process", process)
    return found


def test_a_new_process_takes_the_place_of_the_old_one(opened: list[int]) -> None:
    """A worker that was started again is read under its new id; what is read of the old one is kept no longer."""
    changing: Any = [Changing(7, 7, 8), Changing(5)]
    processes = Processes(changing)
    read = [processes.read(instruments.PROCESS_MEMORY_USAGE) for _ in range(4)]
    expected = [({"worker": "0"}, 1007), ({"worker": "1"}, 1005)]
    assert read == [expected] * 2 + [[({"worker": "0"}, 1008), expected[1]]] * 2
    assert opened == [7, 5, 8]


def test_a_process_that_has_just_ended_is_left_out() -> None:
    """The worker whose process ends while it is read has no series this time, and the others have theirs."""
    ended: Any = [Changing(2**22 + 1, os.getpid()), Changing(os.getpid())]
    processes = Processes(ended)
    assert [attributes["worker"] for attributes, _ in processes.read(instruments.PROCESS_THREADS)] == ["1"]
    assert [attributes["worker"] for attributes, _ in processes.read(instruments.PROCESS_THREADS)] == ["0", "1"]
