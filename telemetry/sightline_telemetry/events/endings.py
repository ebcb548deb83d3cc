"""How a process ended, as `os.waitpid` returns it."""

import signal
from contextlib import suppress

ORDERLY = (0, signal.SIGINT, signal.SIGTERM)
"""Wait statuses of workers that were stopped."""


def name_of_signal(wait_status: int) -> str:
    """Returns the name of the signal that ended a process; `exit` if it ended by itself.

    >>> name_of_signal(9), name_of_signal(0)
    ('SIGKILL', 'exit')
    """
    number = wait_status & 0x7F
    if not number:
        return "exit"
    with suppress(ValueError):  # real-time signals have no name
        return signal.Signals(number).name
    return f"signal {number}"
