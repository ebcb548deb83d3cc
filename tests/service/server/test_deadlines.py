"""What a client holds open ends: each case has a bound of its own, made short by a setting."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from sightline_service.server.bounds import OWN_DESCRIPTORS, Bounds, connections_allowed
from sightline_service.server.deadlines import LINGER_S, Deadlines, Phase
from sightline_telemetry.events.slots import SlotTable
from tests.service.running import Running, running
from tests.service.server.talking import BODY, LIVEZ, ROW, closed_after, connected, post, read_to_end, refused, statuses
from tests.stack.polling import poll_until


def test_deadlines_as_the_sweep_sees_them() -> None:
    """Each phase has its bound, which begins when the phase is first seen, and again with another request."""
    bounds, first, second = Bounds(), object(), object()
    for phase, bound_s, reason in [
        (Phase.IDLE, 75, "idle"),
        (Phase.HEAD, 10, "head_time"),
        (Phase.UNREAD, 30, "unread"),
        (Phase.DRAINING, LINGER_S, "body_time"),
    ]:
        deadlines = Deadlines(0.0)
        assert [deadlines.overdue(phase, first, 5, at, bounds) for at in (1.0, bound_s, bound_s + 1.0)] == [
            "",
            "",
            reason,
        ]
        assert deadlines.overdue(phase, second, 5, bound_s + 2.0, bounds) == ""
    assert deadlines.overdue(Phase.ANSWERING, first, 0, 1e9, bounds) == ""
    assert deadlines.overdue(Phase.ANSWERING, first, 0, 2e9, bounds) == ""


@pytest.mark.parametrize(
    ("read", "ends_at"),
    [
        (lambda at: at, 10),  # a byte per second
        (lambda at: 1100 * at, None),
        (lambda at: min(at, 5) * 2000, 11),
        (lambda at: 16_000_000 if at else 0, 60),
        (lambda at: 16_000_000 + at, 30),
        (lambda at: 100_000 + (at // 25) * 30_000, None),
    ],
    ids=["trickle", "steady", "fast, then nothing", "much, then nothing", "much, then a trickle", "in bursts"],
)
def test_how_long_a_body_may_take(read: Any, ends_at: int | None) -> None:
    """A body ends below its rate after 10 seconds, and later whenever 30 seconds bring less than the rate asks for."""
    deadlines, message, bounds = Deadlines(0.0), object(), Bounds()
    ended = [at for at in range(300) if deadlines.overdue(Phase.BODY, message, int(read(at)), float(at), bounds)]
    assert (ended[0] if ended else None) == ends_at


def test_connections_leave_descriptors_free() -> None:
    """A worker takes the connections that are wanted, and fewer where descriptors are short."""
    assert connections_allowed(10) == 10
    assert 10 <= connections_allowed(2**30) <= 2**30 - OWN_DESCRIPTORS


@contextmanager
def bounded(bundle: Path, **bounds: Any) -> Iterator[Running]:
    """The service with short bounds."""
    with running(bundle, **bounds) as service:
        yield service


@pytest.mark.parametrize(
    ("sent", "bounds", "status", "reason"),
    [
        (b"", {"idle_s": 0.3}, [], "idle"),
        (LIVEZ, {"idle_s": 0.3}, [200], "idle"),
        (b"\r\n" * 3, {"idle_s": 0.3}, [], "idle"),
        (LIVEZ[:20], {"head_s": 0.3}, [], "head_time"),
        (post()[:-5], {"body_grace_s": 0.3}, [408], "body_time"),
        (post(path="/predict/model?x")[:-5], {"body_grace_s": 0.3}, [408], "body_time"),
        (post(b"{", path="/feedback", length=50_000), {"body_stall_s": 0.3, "min_body_rate": 1}, [408], "body_time"),
        (post(b"5\r\nhello\r\n", "transfer-encoding: chunked"), {"body_grace_s": 0.3}, [408], "body_time"),
        (LIVEZ + post()[:-5], {"body_grace_s": 0.3}, [200, 408], "body_time"),
        (post() + LIVEZ[:9], {"head_s": 0.3}, [200], "head_time"),
    ],
)
def test_what_is_held_open_ends(
    small_bundle: Path, sent: bytes, bounds: dict[str, float], status: list[int], reason: str
) -> None:
    """A connection that sends nothing, half a head or half a body is closed, and the reason is counted."""
    with bounded(small_bundle, **bounds) as service:
        assert closed_after(service, sent)[0] == status
        assert refused(service) == {reason: 1}
        assert len(service.app.connections) <= 1


def test_a_trickle_is_no_progress(small_bundle: Path) -> None:
    """A client that sends a byte at a time is ended like one that sends none: in its head, and in its body."""
    with bounded(small_bundle, head_s=0.5, body_grace_s=0.5) as service:
        for start, rest, reason in [(b"", LIVEZ * 99, "head_time"), (post(b"", length=1000), b" " * 999, "body_time")]:
            with connected(service, 0.1) as connection:
                connection.sendall(start)
                with suppress(ConnectionError):
                    for at in range(len(rest)):
                        connection.sendall(rest[at : at + 1])
                        with suppress(TimeoutError):
                            if connection.recv(1000):
                                continue
                            break
            assert refused(service)[reason] == 1


def unread(service: Running, connection: socket.socket) -> None:
    """Sends requests whose answers are larger than the buffers of a connection, and leaves them unread."""
    rows = post(json.dumps({"instances": [ROW] * 5000}).encode())
    connection.setblocking(False)
    sent, whole = 0, rows * 20
    with suppress(BlockingIOError):
        while sent < len(whole):
            sent += connection.send(whole[sent:])
    poll_until(lambda: any(each.is_unread for each in service.app.connections.open), 20)


def test_an_answer_that_is_not_read_ends_its_connection(small_bundle: Path) -> None:
    """A client that asks and does not read is cut off; others are served meanwhile, and its memory is given back."""
    with bounded(small_bundle, unread_s=0.5) as service, connected(service, receive_bytes=4096) as connection:
        unread(service, connection)
        assert service.client.get("/livez").status_code == 200
        poll_until(lambda: refused(service).get("unread"), 20)
        assert service.app.connections.open_body_bytes == 0


def test_a_slot_is_kept_while_its_answer_is_not_taken(small_bundle: Path) -> None:
    """A request stays in flight for other processes until its client has all of its answer, or is gone."""
    table = SlotTable(memoryview(bytearray(64 * 8)))

    def give_slots(app: FastAPI) -> None:
        app.state.parts.telemetry.sink.slots = table

    with running(small_bundle, change=give_slots) as service:
        with connected(service, receive_bytes=4096) as connection:
            unread(service, connection)
            assert [service.client.get("/livez").status_code for _ in range(5)] == [200] * 5
            assert len(poll_until(table.read, 5)) >= 1
            connection.setblocking(True)
            connection.settimeout(20)
            connection.shutdown(socket.SHUT_WR)
            read_to_end(connection)
        poll_until(lambda: not table.read(), 20)
        with connected(service, receive_bytes=4096) as connection:
            unread(service, connection)
            assert len(table.read()) >= 1
        poll_until(lambda: not table.read(), 20)
        assert service.client.post("/predict/model", json={"instances": [ROW]}).status_code == 200
        poll_until(lambda: not table.read(), 20)


def test_bodies_beyond_their_bound_are_refused(small_bundle: Path) -> None:
    """Bodies that are held open have a bound together; small requests are served beside them, in pieces too."""
    with bounded(small_bundle, max_open_body_bytes=1_000_000) as service, ExitStack() as stack:
        held = [stack.enter_context(connected(service)) for _ in range(4)]
        for connection in held[:3]:
            connection.sendall(post(b" " * 300_000, length=400_000))
        poll_until(lambda: service.app.connections.open_body_bytes > 800_000, 10)
        held[3].sendall(post(b" " * 300_000, length=400_000))
        received = read_to_end(held[3])
        assert statuses(received) == [503]
        assert b"retry-after: 1" in received
        assert refused(service) == {"bodies": 1}
        with connected(service) as connection:
            connection.sendall(post()[:-3])
            connection.sendall(BODY[-3:])
            assert statuses(connection.recv(10_000)) == [200]
        for connection in held[:3]:
            connection.sendall(b" " * 100_000)
            assert statuses(connection.recv(10_000)) == [400]
        poll_until(lambda: service.app.connections.open_body_bytes == 0, 10)


def test_without_room_the_longest_idle_connection_ends(small_bundle: Path) -> None:
    """Half-open connections keep no client out: those that wait longest are closed for new ones."""
    with bounded(small_bundle, max_connections=50, head_s=3600, idle_s=0.9 * 3600) as service, ExitStack() as stack:
        for number in range(45):
            stack.enter_context(connected(service)).sendall(LIVEZ[:20] if number % 2 else b"")
        connections = service.app.connections
        poll_until(lambda: sum(each.deadlines.is_seen for each in connections.open) >= 45, 10)
        for _ in range(20):
            with connected(service) as connection:
                connection.sendall(LIVEZ)
                assert statuses(connection.recv(1000)) == [200]
            stack.enter_context(connected(service))
        assert len(connections) <= 50
        assert refused(service)["connections"] >= 10


@pytest.mark.slow
def test_a_thousand_half_open_connections(small_bundle: Path) -> None:
    """With 1,000 heads and 1,000 bodies held open, another client is served."""
    with running(small_bundle) as service, ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connected(service)).sendall(LIVEZ[:20])
            stack.enter_context(connected(service)).sendall(post()[:-5])
        assert [service.client.get("/livez").status_code for _ in range(50)] == [200] * 50
        assert service.predict([ROW]).status_code == 200
