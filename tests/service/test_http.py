"""Head and body of a response leave by one write, in order, and before the connection is closed."""

import asyncio
from typing import Any

from service.http import JoinedWrites


class Written(asyncio.Transport):
    """A transport that remembers what was done with it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.done: list[Any] = []

    def write(self, data: Any) -> None:
        """Remembers bytes."""
        self.done.append(data)

    def close(self) -> None:
        """Remembers the end."""
        self.done.append("closed")


async def _written(close: bool) -> list[Any]:
    real = Written()
    joined = JoinedWrites(real, asyncio.get_running_loop())
    assert joined.get_extra_info("peername") == ("127.0.0.1", 1)
    joined.write(b"head ")
    joined.write(b"body")
    assert real.done == []
    if close:
        joined.close()
    await asyncio.sleep(0)
    if not close:
        joined.write(b"next")
        await asyncio.sleep(0)
    return real.done


def test_writes_of_one_turn_are_joined() -> None:
    """What is written within one turn of the loop is one write; what comes later is another."""
    assert asyncio.run(_written(close=False)) == [b"head body", b"next"]


def test_nothing_is_lost_at_the_end() -> None:
    """What waits is written before the connection is closed, and once."""
    assert asyncio.run(_written(close=True)) == [b"head body", "closed"]
