"""Slots of requests in flight: taken, released, read by another, and never more than there are."""

import struct

import pytest

from sightline_telemetry.events.slots import PREDICTING, READING, WAITING, InFlight, SlotTable

REQUEST = (2**64 - 1, 2**63, 2**64 - 2, 1_764_288_000_000_000_000, 123_456_789, 3, 2)


def _table(n_slots: int = 4) -> SlotTable:
    return SlotTable(memoryview(bytearray(64 * n_slots)))


def test_a_request_is_read_as_it_was_written() -> None:
    """Every number comes back from the table of another process, ids of 128 and 64 bits too."""
    memory = memoryview(bytearray(64 * 4))
    writer, reader = SlotTable(memory), SlotTable(memory)
    slot = writer.take(*REQUEST)
    trace_id = (2**64 - 1) << 64 | 2**63
    expected = InFlight(slot, READING, trace_id, 2**64 - 2, 1_764_288_000_000_000_000, 123_456_789, 3, 2)
    assert reader.read() == [expected]
    for phase in (WAITING, PREDICTING):
        writer.phase(slot, phase)
        assert reader.read() == [expected._replace(phase=phase)]
    writer.release(slot)
    assert reader.read() == []


def test_a_full_table_refuses() -> None:
    """Without a free slot a request gets -1, which `phase` and `release` pass over."""
    table = _table()
    slots = [table.take(*REQUEST) for _ in range(4)]
    assert sorted(slots) == [0, 1, 2, 3]
    assert table.take(*REQUEST) == -1
    table.phase(-1, PREDICTING)
    table.release(-1)
    assert [request.phase for request in table.read()] == [READING] * 4
    table.release(slots[2])
    assert table.take(*REQUEST) == slots[2]


def test_a_refused_value_costs_no_slot() -> None:
    """A number that does not fit raises, and the slot stays free."""
    table = _table(1)
    with pytest.raises(struct.error):
        table.take(-1, *REQUEST[1:])
    assert (table.read(), table.take(*REQUEST)) == ([], 0)


def test_clear_frees_what_a_dead_worker_left() -> None:
    """A new writer of a used table has all slots after `clear`."""
    memory = memoryview(bytearray(64 * 4))
    old = SlotTable(memory)
    for _ in range(3):
        old.take(*REQUEST)
    new = SlotTable(memory)
    assert len(new.read()) == 3
    new.clear()
    assert new.read() == []
    assert [new.take(*REQUEST) for _ in range(5)] == [0, 1, 2, 3, -1]
