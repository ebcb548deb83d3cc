"""CPU time, memory, threads and open files of the processes of a service, as the semantic conventions name them."""

import os
from collections.abc import Callable, Iterator, Sequence

import psutil

from sightline_telemetry import instruments
from sightline_telemetry.counts.series import MetricAttributes
from sightline_telemetry.events.seats import ProcessWords
from sightline_telemetry.instruments import Instrument

Read = Callable[[psutil.Process], Iterator[tuple[MetricAttributes, float]]]


class Processes:
    """Reads the processes of a service.

    workers: their ids change when one is started again; empty if there is only this process.
    """

    def __init__(self, workers: Sequence[ProcessWords]) -> None:
        self._workers = workers
        self._found: dict[int, psutil.Process] = {}  # by the index of the worker

    def read(self, instrument: Instrument) -> list[tuple[MetricAttributes, float]]:
        """Returns the series of one of PROCESS_INSTRUMENTS: one per process, named by `worker` if there are workers."""
        if not self._workers:
            return list(_READ[instrument](self._process(0, os.getpid())))
        series: list[tuple[MetricAttributes, float]] = []
        for index, words in enumerate(self._workers):
            pid, own = words.pid, {"worker": str(index)}  # read once: another process may take its place meanwhile
            try:
                if pid:
                    process = self._process(index, pid)
                    series += [({**own, **more}, value) for more, value in _READ[instrument](process)]
            except (psutil.Error, OSError):
                self._found.pop(index, None)  # it has just ended
        return series

    def _process(self, index: int, pid: int) -> psutil.Process:
        process = self._found.get(index)
        if process is None or process.pid != pid:
            process = self._found[index] = psutil.Process(pid)
        return process


def _cpu_time(process: psutil.Process) -> Iterator[tuple[MetricAttributes, float]]:
    times = process.cpu_times()
    yield {"type": "user"}, times.user
    yield {"type": "system"}, times.system


def _memory(process: psutil.Process) -> Iterator[tuple[MetricAttributes, float]]:
    yield {}, process.memory_info().rss


def _virtual(process: psutil.Process) -> Iterator[tuple[MetricAttributes, float]]:
    yield {}, process.memory_info().vms


def _threads(process: psutil.Process) -> Iterator[tuple[MetricAttributes, float]]:
    yield {}, process.num_threads()


def _files(process: psutil.Process) -> Iterator[tuple[MetricAttributes, float]]:
    if hasattr(process, "num_fds"):  # not on Windows
        yield {}, process.num_fds()


_READ: dict[Instrument, Read] = {
    instruments.PROCESS_CPU_TIME: _cpu_time,
    instruments.PROCESS_MEMORY_USAGE: _memory,
    instruments.PROCESS_MEMORY_VIRTUAL: _virtual,
    instruments.PROCESS_THREADS: _threads,
    instruments.PROCESS_OPEN_FILES: _files,
}
PROCESS_INSTRUMENTS = tuple(_READ)
