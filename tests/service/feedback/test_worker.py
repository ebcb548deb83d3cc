"""The ledger worker: no request waits for the ledger longer than stated, exports never do, and it recovers."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

import sightline_service.feedback.worker
from sightline_service.errors import LedgerDownError
from sightline_service.feedback.ledger import Ledger
from sightline_service.feedback.watched_files import WatchedFiles
from sightline_service.feedback.worker import WAITING_BODIES, LedgerWorker
from sightline_telemetry.events.layout import FAULT, LABELS, body_event, event_body
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import FEEDBACK
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Quality, quality_from_bytes
from tests.service.feedback.test_ledger import labels, predicted

MODEL = JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True)
PATIENCE_S = 10


@dataclass(frozen=True, slots=True)
class Written:
    """The events of a worker, as an observer reads them."""

    events: list[bytes] = field(default_factory=list)

    def quality(self) -> Quality | None:
        """Returns the totals that an export would show; None if there is nothing to show."""
        shown = [event_body(event) for event in self.events if event[0] == LABELS]
        return quality_from_bytes(shown[-1]) if shown else None

    def faults(self) -> int:
        """Returns how many faults of the ledger were counted."""
        return self.events.count(body_event(FAULT, b"ledger"))


@asynccontextmanager
async def working(
    path: Path, instead: Callable[[bytes], list[str]] | None = None
) -> AsyncIterator[tuple[LedgerWorker, Written]]:
    """A worker on a SQLite ledger; a body is a number of labels to record, unless something else is done instead."""
    written = Written()
    ledger = Ledger(f"sqlite:///{path}", MODEL, 86_400)

    def record(body: bytes) -> list[str]:
        return list(ledger.record(labels(predicted(int(body)), 1), {}))

    take = written.events.append
    worker = LedgerWorker(ledger, instead or record, Faults(take), take, WatchedFiles(()))
    await worker.start()
    try:
        yield worker, written
    finally:
        worker.close()


def counted(written: Written) -> int:
    """Returns the labels that an export would show; -1 if there is nothing to show."""
    quality = written.quality()
    return -1 if quality is None else sum(n for _, n in quality.counts(FEEDBACK))


async def until(is_so: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # it happens in a thread, which sets no event
            await asyncio.sleep(0.01)


def test_labels_are_recorded_and_shown(tmp_path: Path) -> None:
    """Recorded labels are shown at once by this replica, and by another one when it reads the ledger next."""

    async def run() -> None:
        path = tmp_path / "ledger.sqlite3"
        async with working(path) as (worker, written), working(path) as (_, other):
            assert (counted(written), counted(other)) == (0, 0)
            assert await worker.run(b"3") == ["accepted"] * 3
            assert counted(written) == 3
            await until(lambda: counted(other) == 3)

    asyncio.run(run())


def test_exports_do_not_wait(tmp_path: Path) -> None:
    """While another process holds the database, exports show the last totals, and the event loop runs."""

    async def run() -> None:
        path = tmp_path / "ledger.sqlite3"
        async with working(path) as (worker, written):
            await worker.run(b"3")
            holder = sqlite3.connect(path, isolation_level=None)
            holder.execute("BEGIN EXCLUSIVE")
            waiting = asyncio.create_task(worker.run(b"2"))
            await asyncio.sleep(0)
            assert (counted(written), waiting.done()) == (3, False)
            holder.execute("ROLLBACK")
            holder.close()
            assert await waiting == ["accepted"] * 2

    asyncio.run(run())


def test_a_body_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits too long is refused; its body, if its turn had not come, is never recorded."""
    monkeypatch.setattr(sightline_service.feedback.worker, "ANSWER_S", 0.2)
    go = Event()
    recorded: list[bytes] = []

    def record(body: bytes) -> list[str]:
        assert go.wait(PATIENCE_S)
        recorded.append(body)
        return []

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3", record) as (worker, _):
            slow = asyncio.create_task(worker.run(b"slow"))
            behind = asyncio.create_task(worker.run(b"behind"))
            for each in (slow, behind):
                with pytest.raises(LedgerDownError, match="took too long"):
                    await each
            go.set()
            await until(lambda: recorded == [b"slow"])
            await worker.run(b"next")
            assert recorded == [b"slow", b"next"]

    asyncio.run(run())


def test_too_many_bodies_are_refused_at_once(tmp_path: Path) -> None:
    """Only so many bodies may wait for the ledger; the others are refused while these still wait."""
    go = Event()

    def record(_: bytes) -> list[str]:
        assert go.wait(PATIENCE_S)
        return []

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3", record) as (worker, _):
            waiting = [asyncio.create_task(worker.run(b"")) for _ in range(WAITING_BODIES + 10)]
            await until(lambda: sum(task.done() for task in waiting) >= 10)
            refused = [task for task in waiting if task.done()]
            assert len(refused) in (10, 11)  # the thread may have taken one out of the queue
            assert all(isinstance(task.exception(), LedgerDownError) for task in refused)
            go.set()
            await asyncio.gather(*(task for task in waiting if task not in refused))

    asyncio.run(run())


def test_a_ledger_that_comes_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ledger nothing is shown and bodies are refused at once; as soon as it is there, all works."""
    monkeypatch.setattr(sightline_service.feedback.worker, "RETRIES_EVERY_S", 0.1)
    folder = tmp_path / "later"

    async def run() -> None:
        async with working(folder / "ledger.sqlite3") as (worker, written):
            assert counted(written) == -1
            with pytest.raises(LedgerDownError):
                await worker.run(b"0")
            await until(lambda: written.faults() > 1)
            folder.mkdir()
            await until(lambda: counted(written) == 0)
            assert await worker.run(b"1") == ["accepted"]

    asyncio.run(run())


def test_a_ledger_that_was_emptied_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tables are dropped, bodies are refused until they are there again, under another id."""
    monkeypatch.setattr(sightline_service.feedback.worker, "RETRIES_EVERY_S", 0.1)
    path = tmp_path / "ledger.sqlite3"

    async def run() -> None:
        async with working(path) as (worker, written):
            await worker.run(b"1")
            before = written.quality()
            emptier = sqlite3.connect(path)
            for table in ("ledger", "models", "labels", "totals"):
                emptier.execute(f"DROP TABLE sightline_{table}")
            emptier.commit()
            emptier.close()
            await until(lambda: counted(written) == 0)
            after = written.quality()
            assert before is not None
            assert after is not None
            assert before.ledger != after.ledger
            assert written.faults() >= 1
            assert await worker.run(b"1") == ["accepted"]

    asyncio.run(run())


def test_an_error_reaches_the_request_that_caused_it(tmp_path: Path) -> None:
    """An error of one body is raised where that body was handed in, and the worker goes on."""

    def record(body: bytes) -> list[str]:
        return [str(1 // int(body))]

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3", record) as (worker, _):
            with pytest.raises(ZeroDivisionError):
                await worker.run(b"0")
            assert await worker.run(b"1") == ["1"]

    asyncio.run(run())


def test_the_thread_ends_with_the_worker(tmp_path: Path) -> None:
    """A closed worker leaves no thread behind."""
    others = set(threading.enumerate())  # a server of other tests may have a ledger too

    def own() -> list[str]:
        return [thread.name for thread in set(threading.enumerate()) - others]

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3"):
            assert own().count("ledger") == 1

    asyncio.run(run())
    assert "ledger" not in own()


def test_a_ledger_whose_file_is_removed_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A body is refused and counted as a fault then, not written to a file that is gone when the process ends."""
    path = tmp_path / "ledger.sqlite3"

    async def run() -> None:
        async with working(path) as (worker, written):
            assert await worker.run(b"1") == ["accepted"]
            path.unlink()
            with pytest.raises(LedgerDownError):
                await worker.run(b"2")
            assert written.faults() >= 1

    asyncio.run(run())
    assert "was removed or replaced" in caplog.text


def test_failures_are_logged_once_per_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each body that cannot be recorded counts as a fault; the log has one line of them."""

    def fail(_: bytes) -> list[str]:
        raise LedgerDownError("no room is left")

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3", fail) as (worker, written):
            for _ in range(5):
                with pytest.raises(LedgerDownError):
                    await worker.run(b"1")
            assert written.faults() == 5

    asyncio.run(run())
    assert caplog.text.count("no room is left") == 1


def test_a_key_that_is_removed_is_named(tmp_path: Path) -> None:
    """A file that stood there when it was looked at first is missed, and one that did not is not."""
    key = tmp_path / "key"
    key.write_text("a secret")
    watched = WatchedFiles((key, tmp_path / "other"))
    assert watched.missing() is None
    key.unlink()
    assert watched.missing() == key
