"""Writes of one iteration of the event loop are joined, in order, and none is lost when a connection closes."""

import asyncio
from typing import Any

from sightline_service.server.joined_writes import MAX_PARTS, CoalescingTransport, WriteBatch


class Written(asyncio.Transport):
    """A transport that remembers its calls."""

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
    joined = CoalescingTransport(real, asyncio.get_running_loop(), WriteBatch())
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


def test_writes_of_one_iteration_are_joined() -> None:
    """Writes of one iteration of the loop become one write; a later one is another."""
    assert asyncio.run(_written(close=False)) == [b"head body", b"next"]


def test_nothing_is_lost_at_the_end() -> None:
    """The parts that wait are written once, before the connection is closed."""
    assert asyncio.run(_written(close=True)) == [b"head body", "closed"]


async def _answered(n_requests: int, n_iterations: int) -> list[list[Any]]:
    """The writes of each transport just before the end of the last iteration, and after it."""
    batch = WriteBatch()
    transports = [Written() for _ in range(n_requests)]
    joined = [CoalescingTransport(each, asyncio.get_running_loop(), batch) for each in transports]
    for number in range(n_iterations):
        for each in joined:
            each.write_answer(b"%d" % number, -1)
        before = [each.done.copy() for each in transports]
        await asyncio.sleep(0)
    return [*before, *(each.done for each in transports)]


async def _releases(n_requests: int, n_iterations: int) -> list[list[int]]:
    """The slots that are free after each iteration."""
    batch, freed = WriteBatch(), list[int]()
    batch.release = freed.extend
    joined = [CoalescingTransport(Written(), asyncio.get_running_loop(), batch) for _ in range(n_requests)]
    found = []
    for number in range(n_iterations):
        for index, each in enumerate(joined):
            each.write_answer(b"answer", 10 * number + index)
        found.append(freed.copy())
        await asyncio.sleep(0)
    return [*found, freed.copy()]


def test_a_slot_is_kept_until_its_answer_is_written() -> None:
    """Slots are freed an iteration after answers were written at once, two after answers that waited for its end."""
    assert asyncio.run(_releases(1, 3)) == [[], [0], [0, 10], [0, 10, 20]]
    assert asyncio.run(_releases(2, 4)) == [[], [0, 1], [0, 1], [0, 1, 10, 11], [0, 1, 10, 11, 20, 21]]


def test_a_request_that_comes_alone_is_answered_at_once() -> None:
    """The only answer of an iteration does not wait for its end."""
    assert asyncio.run(_answered(1, 3)) == [[b"0", b"1", b"2"]] * 2


def test_answers_of_a_busy_iteration_leave_at_its_end() -> None:
    """From the second iteration on, several answers wait for one another."""
    before, after = [b"0"], [b"0", b"1"]
    assert asyncio.run(_answered(2, 2)) == [before, before, after, after]


class Lost(Written):
    """A transport whose connection is closed, as uvloop has it."""

    def write(self, data: Any) -> None:  # noqa: ARG002
        """Refuses."""
        raise RuntimeError("the handler is closed")


async def _written_beside_a_lost_one() -> list[Any]:
    batch, real = WriteBatch(), Written()
    for transport in (Lost(), real):
        CoalescingTransport(transport, asyncio.get_running_loop(), batch).write(b"answer")
    await asyncio.sleep(0)
    return real.done


def test_a_lost_connection_takes_no_other_answer_with_it() -> None:
    """A connection that is closed before its iteration ends does not keep the others from being written to."""
    assert asyncio.run(_written_beside_a_lost_one()) == [b"answer"]


async def _streamed() -> list[Any]:
    real = Written()
    joined = CoalescingTransport(real, asyncio.get_running_loop(), WriteBatch())
    for _ in range(MAX_PARTS + 1):
        joined.write(b"x")
    return real.done.copy()


def test_a_stream_is_not_held_back() -> None:
    """A response that streams within one iteration reaches the transport, which notices a slow client."""
    assert asyncio.run(_streamed()) == [b"x" * MAX_PARTS]
