"""A thread beside the event loop for bodies that take long to read, and for answers that take long to write."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from sightline_service.errors import QueueFullError

MAX_BYTES = 128 * 1024 * 1024
"""Bytes of all bodies that wait to be read or are being read; one body may be larger."""

Result = TypeVar("Result")


class Aside:
    """Runs one function at a time in its thread, so that no more than one body is unpacked and built at once."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")
        self._n_bytes = 0

    async def run(self, n_bytes: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Returns what the function returns. n_bytes: of the body that it reads.

        Raises QueueFullError at once if too many bytes wait already, and what the function raises.
        """
        if self._n_bytes and self._n_bytes + n_bytes > MAX_BYTES:
            raise QueueFullError("too many large bodies wait to be read; send this again in a second")
        self._n_bytes += n_bytes
        running = self._executor.submit(partial(function, *arguments))
        loop = asyncio.get_running_loop()
        running.add_done_callback(lambda _: _call_soon(loop, self._done, n_bytes))
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Lets the thread end once it is idle."""
        self._executor.shutdown(wait=False)

    def _done(self, n_bytes: int) -> None:
        self._n_bytes -= n_bytes


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[int], None], n_bytes: int) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, n_bytes)
