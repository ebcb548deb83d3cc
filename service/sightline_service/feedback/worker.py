"""The one thread that works the ledger, so that neither the event loop nor an export ever waits for a database.

What exports show are the totals as last seen. They are those of this replica's last transaction, and of all
replicas' a second ago. If the database is gone they stay as they are: totals only grow, so an old one is still
true, and a gap would look like a loss. Before the database has answered for the first time there are none:
a zero would be false.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

from sightline_service.errors import LedgerDownError
from sightline_service.feedback.ledger import Ledger
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.quality import Quality

_log = logging.getLogger(__name__)

READS_EVERY_S = 1.0
RETRIES_EVERY_S = 3.0
PRUNES_EVERY_S = 600.0
WAITING_BODIES = 64
"""Bodies that may wait for the ledger; above that a client is told to come back."""
ANSWER_S = 10.0
OPEN_S = 3.0
"""So long the start of the service waits for the ledger; it serves predictions without."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Any]
    future: "Future[Any]"


class LedgerWorker:
    """Works the ledger in a thread of its own, and keeps the totals as last seen."""

    def __init__(self, ledger: Ledger, faults: Faults) -> None:
        self._ledger = ledger
        self._faults = faults
        self._jobs: Queue[_Job | None] = Queue(WAITING_BODIES)
        self._is_tried: Future[None] = Future()
        self._is_open = False
        self._next_read_s = self._next_prune_s = 0.0
        self._quality: Quality | None = None

    async def start(self) -> None:
        """Starts the thread and waits for the ledger's first answer, but not long."""
        Thread(target=self._run, name="ledger", daemon=True).start()  # a database that hangs must not keep us alive
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._is_tried)), OPEN_S)
        if not self._is_open:
            _log.warning("the ledger does not answer: /feedback answers 503 until it does; predictions are served")

    def close(self) -> None:
        """Lets the thread end after the work that it has; nobody waits for it."""
        self._jobs.put_nowait(None)

    def quality(self) -> Quality | None:
        """The totals as last seen; None before the ledger has answered. Never waits."""
        return self._quality

    async def do(self, work: Callable[[], T]) -> T:
        """Does some work with the ledger in its thread. Raises LedgerDownError if it does not end in time."""
        job = _Job(work, Future())
        if not self._is_open or self._jobs.qsize() >= WAITING_BODIES - 1:
            raise LedgerDownError("the ledger does not answer, or too much waits for it; send this again")
        self._jobs.put_nowait(job)
        try:
            done: T = await asyncio.wait_for(asyncio.wrap_future(job.future), ANSWER_S)
        except TimeoutError:  # what still waits is cancelled; what runs is counted whole or not at all
            raise LedgerDownError("the ledger took too long; send this again, nothing is counted twice") from None
        return done

    def _run(self) -> None:
        while True:
            self._read_if_due()
            try:
                job = self._jobs.get(timeout=max(0.0, self._next_read_s - monotonic()))
            except Empty:
                continue
            if job is None:
                self._ledger.close()
                return
            self._work(job)

    def _work(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            done = job.work()
        except BaseException as error:
            job.future.set_exception(error)
            return
        self._quality = self._ledger.quality()
        job.future.set_result(done)

    def _read_if_due(self) -> None:
        now_s = monotonic()
        if now_s < self._next_read_s:
            return
        try:
            if not self._is_open:
                self._ledger.open()
            self._quality = self._ledger.read()
            self._is_open = True
            self._prune_if_due(now_s)
        except Exception:
            self._is_open = False  # nobody waits for a database that is known to be away; it is opened anew
            self._faults.note("ledger")
            self._next_read_s = monotonic() + RETRIES_EVERY_S
        else:
            self._next_read_s = monotonic() + READS_EVERY_S
        if not self._is_tried.done():
            self._is_tried.set_result(None)

    def _prune_if_due(self, now_s: float) -> None:
        if now_s >= self._next_prune_s:
            has_more = self._ledger.prune()  # some at a time: labels that wait go in between
            self._next_prune_s = now_s if has_more else now_s + PRUNES_EVERY_S
