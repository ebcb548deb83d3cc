"""The clerk: nobody waits for the ledger longer than stated, exports never do, and it is found again."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

import sightline_service.feedback.worker
from sightline_service.errors import LedgerDownError
from sightline_service.feedback.ledger import Ledger, LedgerRules
from sightline_service.feedback.worker import WAITING_BODIES, LedgerWorker
from sightline_telemetry.faults import Faults
from sightline_telemetry.instruments import FEEDBACK
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel
from tests.service.feedback.test_ledger import labels, predicted

MODEL = JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True)


@asynccontextmanager
async def working(path: Path) -> AsyncIterator[tuple[LedgerWorker, Ledger, Faults]]:
    """A clerk at work on a SQLite ledger."""
    faults = Faults("ledger")
    ledger = Ledger(f"sqlite:///{path}", MODEL, LedgerRules(86_400))
    clerk = LedgerWorker(ledger, faults)
    await clerk.start()
    try:
        yield clerk, ledger, faults
    finally:
        clerk.close()


def counted(clerk: LedgerWorker) -> int:
    """Labels as an export would show them; -1 where there are none to show."""
    quality = clerk.quality()
    return -1 if quality is None else sum(n for _, n in quality.counts(FEEDBACK))


async def until(is_so: Callable[[], bool], timeout_s: float = 10) -> None:
    """Waits for what another thread does."""
    end_s = monotonic() + timeout_s
    while not is_so():
        assert monotonic() < end_s
        await asyncio.sleep(0.01)


def test_work_is_done_and_seen(tmp_path: Path) -> None:
    """What is recorded is shown at once here, and by another replica a second later."""

    async def run() -> None:
        path = tmp_path / "ledger.sqlite3"
        async with working(path) as (clerk, ledger, _), working(path) as (other, *_):
            assert (counted(clerk), counted(other)) == (0, 0)
            verdicts = await clerk.do(lambda: ledger.record(labels(predicted(3), 1), {}))
            assert verdicts == ["accepted"] * 3
            assert counted(clerk) == 3
            await until(lambda: counted(other) == 3)

    asyncio.run(run())


def test_exports_do_not_wait(tmp_path: Path) -> None:
    """While the database is held by somebody, exports show the last totals at once, and the event loop runs."""

    async def run() -> None:
        path = tmp_path / "ledger.sqlite3"
        async with working(path) as (clerk, ledger, _):
            await clerk.do(lambda: ledger.record(labels(predicted(3), 1), {}))
            holder = sqlite3.connect(path, isolation_level=None)
            holder.execute("BEGIN EXCLUSIVE")
            waiting = asyncio.create_task(clerk.do(lambda: ledger.record(labels(predicted(2), 1), {})))
            await asyncio.sleep(0.3)
            start_s = monotonic()
            assert counted(clerk) == 3
            assert monotonic() - start_s < 0.1
            holder.execute("ROLLBACK")
            holder.close()
            assert await waiting == ["accepted"] * 2

    asyncio.run(run())


def test_work_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long is told to come back; work that had not begun is never done."""
    monkeypatch.setattr(sightline_service.feedback.worker, "ANSWER_S", 0.2)
    go, done = Event(), []

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3") as (clerk, *_):
            slow = asyncio.create_task(clerk.do(go.wait))
            behind = asyncio.create_task(clerk.do(lambda: done.append(1)))
            for each in (slow, behind):
                with pytest.raises(LedgerDownError, match="took too long"):
                    await each
            go.set()
            await clerk.do(lambda: done.append(2))
            assert done == [2]

    asyncio.run(run())


def test_too_much_work_is_refused_at_once(tmp_path: Path) -> None:
    """Only so many bodies may wait for the ledger."""
    go = Event()

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3") as (clerk, *_):
            waiting = [asyncio.create_task(clerk.do(go.wait)) for _ in range(WAITING_BODIES + 10)]
            await asyncio.sleep(0.1)
            refused = [task for task in waiting if task.done()]
            assert len(refused) >= 10
            assert all(isinstance(task.exception(), LedgerDownError) for task in refused)
            go.set()
            await asyncio.gather(*(task for task in waiting if task not in refused))

    asyncio.run(run())


def test_a_ledger_that_comes_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ledger nothing is shown and work is refused at once; when it is there, everything works."""
    monkeypatch.setattr(sightline_service.feedback.worker, "RETRIES_EVERY_S", 0.1)
    folder = tmp_path / "later"

    async def run() -> None:
        async with working(folder / "ledger.sqlite3") as (clerk, ledger, faults):
            assert counted(clerk) == -1
            with pytest.raises(LedgerDownError):
                await clerk.do(lambda: ledger.record([], {}))
            await until(lambda: faults.counts["ledger"] > 1)
            folder.mkdir()
            await until(lambda: counted(clerk) == 0)
            assert await clerk.do(lambda: ledger.record(labels(predicted(1), 1), {})) == ["accepted"]

    asyncio.run(run())


def test_a_ledger_that_was_emptied_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody drops the tables, work is refused until they are there again, under another id."""
    monkeypatch.setattr(sightline_service.feedback.worker, "RETRIES_EVERY_S", 0.1)
    path = tmp_path / "ledger.sqlite3"

    async def run() -> None:
        async with working(path) as (clerk, ledger, faults):
            await clerk.do(lambda: ledger.record(labels(predicted(1), 1), {}))
            before = clerk.quality()
            emptier = sqlite3.connect(path)
            for table in ("ledger", "models", "labels", "totals"):
                emptier.execute(f"DROP TABLE sightline_{table}")
            emptier.commit()
            emptier.close()
            await until(lambda: counted(clerk) == 0)
            after = clerk.quality()
            assert before is not None
            assert after is not None
            assert before.ledger != after.ledger
            assert faults.counts["ledger"] >= 1
            assert await clerk.do(lambda: ledger.record(labels(predicted(1), 1), {})) == ["accepted"]

    asyncio.run(run())


def test_errors_of_the_work_reach_who_asked(tmp_path: Path) -> None:
    """What the work raises is raised where it was asked for, and the clerk goes on."""

    async def run() -> None:
        async with working(tmp_path / "ledger.sqlite3") as (clerk, *_):
            with pytest.raises(ZeroDivisionError):
                await clerk.do(lambda: 1 / 0)
            assert await clerk.do(lambda: 7) == 7

    asyncio.run(run())
