"""A process in the place of a worker or an observer; it writes what happens to it into a journal.

    python stand_in.py JOURNAL [BEHAVIOUR ...]

Behaviours: `fails` (exit code 7 before it is ready), `dies` (SIGKILL before it is ready), `crashes` (exit code 1 soon
after the start), `crashes-at-the-end` (when its lifeline ends), `stubborn` (stops for nothing), `orphans` (leaves a
child of its own to the process that adopts it).
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic, sleep

from sightline_telemetry.events.memory import Board
from sightline_telemetry.observer.inheritance import Inheritance

_COUNT_DESCRIPTORS = "import os; print(*[fd for fd in range(3, 64) if os.path.exists(f'/dev/fd/{fd}')])"


class StandIn:
    """What the stand-ins of both roles do."""

    def __init__(self, journal: str, behaviours: set[str]) -> None:
        given = Inheritance.take()
        if given is None:
            raise SystemExit("no supervisor has started this process")
        self.given = given
        self.behaviours = behaviours
        self.descriptors = [fd for fd in range(3, 64) if _is_open(fd)]  # before this process opens its own
        self.board = Board.attach(given.board)
        self.role = "observer" if given.worker is None else f"worker {given.worker}"
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND)

    def note(self, event: str, **more: object) -> None:
        """Appends a line to the journal."""
        line = json.dumps({"role": self.role, "event": event, "pid": os.getpid(), "time_s": monotonic(), **more})
        os.write(self._journal, f"{line}\n".encode())

    def lives(self, listening: int) -> Iterator[None]:
        """Answers each connection with its id, until the lifeline ends."""
        server = socket.socket(fileno=listening)
        server.setblocking(False)
        while True:
            readable = select.select([server.fileno(), self.given.lifeline], [], [])[0]
            if self.given.lifeline in readable:
                break
            try:
                client, _ = server.accept()
            except BlockingIOError:
                continue  # another worker was quicker
            with client:
                client.sendall(str(os.getpid()).encode())
            yield
        self.note("lifeline ended")
        while "stubborn" in self.behaviours:
            sleep(1)

    def serve(self) -> None:
        """Lives as a worker: ready, then answering."""
        seat = self.board.seat(self.given.worker or 0)
        generation = seat.process.generation
        before = seat.process.ended(generation - 1)
        if "fails" in self.behaviours:
            raise SystemExit(7)
        if "dies" in self.behaviours:
            os.kill(os.getpid(), signal.SIGKILL)
        if "stubborn" in self.behaviours:
            signal.signal(signal.SIGTERM, lambda *_: self.note("SIGTERM"))
        orphan = 0
        if "orphans" in self.behaviours:
            shell = ["/bin/sh", "-c", "sleep 0.2 >/dev/null & echo $!"]
            orphan = int(subprocess.run(shell, stdout=subprocess.PIPE, check=True).stdout)
        child = subprocess.run(
            [sys.executable, "-c", _COUNT_DESCRIPTORS], close_fds=False, stdout=subprocess.PIPE, text=True, check=True
        )
        self.note(
            "started",
            generation=generation,
            ended=before and before[:3],
            deaths=list(seat.deaths),
            descriptors=self.descriptors,
            given=[self.given.board, self.given.lifeline, self.given.listening],
            of_a_child=child.stdout.split(),
            orphan=orphan,
            socket=self.given.observer_socket,
        )
        seat.process.ready = generation
        for _ in self.lives(self.given.listening or 0):
            pass

    def observe(self) -> None:
        """Lives as an observer, until its lifeline ends."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        given = [self.given.board, self.given.lifeline, self.given.answers, self.given.metrics]
        words = self.board.observer
        before = words.ended(words.generation - 1)
        self.note("started", ended=before and before[:3], descriptors=self.descriptors, given=given)
        if "crashes" in self.behaviours:
            raise SystemExit(1)
        for _ in self.lives(self.given.answers or 0):
            pass
        if "crashes-at-the-end" in self.behaviours:
            raise SystemExit(1)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    stand_in = StandIn(sys.argv[1], set(sys.argv[2:]))
    if stand_in.role == "observer":
        stand_in.observe()
    else:
        stand_in.serve()
