"""A process that the supervisor keeps running: started, and started again after a pause that grows."""

import os
import signal
import subprocess
from time import monotonic

from sightline_telemetry.events.endings import name_of_signal
from sightline_telemetry.events.seats import ProcessWords, Seat
from sightline_telemetry.observer.inheritance import Inheritance

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
LIFE_S = 10.0  # the successor of a process that lived so long is started as quickly as the first one's


def how_it_ended(wait_status: int) -> str:
    """Returns how a process ended, as the end of a sentence that begins with its name.

    >>> how_it_ended(9), how_it_ended(256)
    ('was ended by SIGKILL', 'ended with exit code 1')
    """
    if not os.WIFSIGNALED(wait_status):
        return f"ended with exit code {os.WEXITSTATUS(wait_status)}"
    return f"was ended by {name_of_signal(wait_status)}"


class Child:
    """One process and its successors.

    words: where its id and generation are stored.
    inheritance: the descriptors that it inherits; it gets no others. seat: a worker's part of the shared memory.
    """

    def __init__(
        self, words: ProcessWords, command: list[str], inheritance: Inheritance, seat: Seat | None = None
    ) -> None:
        self.words = words
        self.due_s: float | None = None
        """When a process is to be started, on the monotonic clock; None: one runs, or none is wanted."""
        self._command = command
        self._seat = seat
        self._inheritance = inheritance
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    @property
    def pid(self) -> int:
        """The id of the running process, 0 if there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts a process.

        Raises OSError when the system refuses to.
        """
        self.due_s = None
        self._started_s = monotonic()
        generation = self.words.begin()
        if self._seat is not None:  # a process that ends before it serves must not leave the slots of an earlier one
            self._seat.slots(generation).clear()
        self._process = subprocess.Popen(  # noqa: S603 - the command is the one that `sightline serve` made
            self._command,
            stdin=subprocess.DEVNULL,
            env=os.environ | self._inheritance.environment(),
            pass_fds=self._inheritance.descriptors(),
        )
        self.words.pid = self._process.pid

    def reaped(self, wait_status: int) -> None:
        """Forgets the process, which the supervisor has waited for."""
        if self._process:
            self._process.returncode = os.waitstatus_to_exitcode(wait_status)  # otherwise Popen waits for it, too
            self._process = None

    def wait(self) -> int:
        """Waits until the process has ended; returns its wait status, 0 if it was waited for elsewhere."""
        code = 0 if self._process is None else self._process.wait()
        self._process = None
        return code << 8 if code >= 0 else -code

    def restart(self) -> float:
        """Has a process started after a pause, in seconds, which is returned; it doubles with each short life."""
        now_s = monotonic()
        if now_s - self._started_s >= LIFE_S:
            self._pause_s = FIRST_PAUSE_S
        pause_s = self._pause_s
        self.due_s = now_s + pause_s
        self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it runs."""
        if self._process:  # it was not waited for, so no other process has its id
            os.kill(self._process.pid, number)
