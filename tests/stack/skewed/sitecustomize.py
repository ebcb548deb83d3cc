"""Python imports this by itself where it stands on PYTHONPATH: the process then lives an hour ahead.

A clock of the operating system cannot be set for one process; what Python reads of it can.
"""

import time

_AHEAD_S = 3600

_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _AHEAD_S
time.time_ns = lambda: _time_ns() + _AHEAD_S * 1_000_000_000
