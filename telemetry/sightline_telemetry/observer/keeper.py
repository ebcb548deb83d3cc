"""Keeps an observer process running, from a thread of a process that has other work: the master of a server."""

import logging
import os
import signal
import sys
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic

from sightline_telemetry.events.memory import Board
from sightline_telemetry.observer import sockets
from sightline_telemetry.observer.child import Child, how_it_ended
from sightline_telemetry.observer.inheritance import Inheritance

_GRACE_S = 8.0  # as the supervisor's
_KILL_S = 2.0
_REPEAT_S = 60.0  # a message about an observer that keeps dying is logged as often as this

_log = logging.getLogger(__name__)


class ObserverKeeper:
    """Starts the observer of a board, starts it again when it dies, and ends it; belongs to the main thread.

    The observer ends by itself, after a last export, when this process does: its lifeline is then closed.
    Raises OSError when no folder can hold the observer's socket.
    """

    def __init__(self, board: Board) -> None:
        self._words = board.observer
        self._answers, self.socket_path = sockets.listen_privately(board.instance_id.hex())
        self._lifeline, self._lifeline_end = os.pipe()
        inheritance = Inheritance(
            board=board.fd,
            lifeline=self._lifeline,
            answers=self._answers.fileno(),
            observer_socket=str(self.socket_path),
        )
        command = [sys.executable, "-P", "-m", "sightline_telemetry.observer.process"]
        self._child = Child(board.observer, command, inheritance)
        self._is_open = True
        self._stopping, self._giving_up = Event(), Event()
        self._logged_s = -_REPEAT_S
        self._thread = Thread(target=self._keep, name="observer-keeper", daemon=True)
        # The thread has this lock while it works, and not while it waits. So no child is forked in the middle of a
        # start, whose pipes it would hold open, or of a log line, whose lock would never be released in it.
        self._no_fork = Lock()

    def start(self) -> None:
        """Starts the thread that starts the observer."""
        os.register_at_fork(
            before=self._no_fork.acquire, after_in_parent=self._no_fork.release, after_in_child=self._leave
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends the observer after it has exported what the workers have left; kills it if that takes too long."""
        if not self._is_open:
            return
        self._is_open = False
        self._stopping.set()
        os.close(self._lifeline_end)
        self._thread.join(_GRACE_S)
        if self._thread.is_alive():
            self._giving_up.set()
            with suppress(ProcessLookupError):
                self._child.send(signal.SIGKILL)
            self._thread.join(_KILL_S)
        os.close(self._lifeline)
        self._answers.close()
        self.socket_path.unlink(missing_ok=True)

    def _leave(self) -> None:
        """Closes, in a forked child, what would keep the observer alive after its master."""
        self._no_fork.release()
        if self._is_open:
            self._is_open = False
            os.close(self._lifeline_end)
            os.close(self._lifeline)
            self._answers.close()

    def _keep(self) -> None:
        is_last = False
        while True:
            problem = self._run()
            is_over = self._stopping.is_set() and (problem is None or is_last)
            if is_over or self._giving_up.is_set():
                return
            pause_s = self._child.restart()
            with self._no_fork:
                self._log_restart(problem or "has ended", pause_s)
            self._stopping.wait(pause_s)
            is_last = self._stopping.is_set()  # one more, for what the one that has died did not export

    def _run(self) -> str | None:
        """Runs one observer to its end; returns what was wrong with it, None if it ended as it should."""
        try:
            with self._no_fork:
                self._child.start()
        except OSError as error:  # a limit of processes or of memory is reached
            return f"cannot be started: {error}"
        wait_status = self._child.wait()
        self._words.end(wait_status)
        return how_it_ended(wait_status) if wait_status else None

    def _log_restart(self, problem: str, pause_s: float) -> None:
        if monotonic() - self._logged_s >= _REPEAT_S:
            self._logged_s = monotonic()
            _log.warning("the observer %s; it is started again in %s s, counts go on without it", problem, pause_s)
