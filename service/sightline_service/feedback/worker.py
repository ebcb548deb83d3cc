"""The one thread that uses the ledger, so that neither the event loop nor an export ever waits for a database.

Exports show the totals as last seen: after this replica's last transaction, or as read from all replicas a second
ago. While the database is gone they stay as they are: totals only grow, so an old one is still true, and a gap
would look like a loss. Before the database has answered for the first time nothing is shown, as a zero would be
false.
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

from sightline_service.bodies.encodings import unpack
from sightline_service.errors import LedgerDownError, RequestError, shortened
from sightline_service.feedback.ledger import Ledger
from sightline_service.feedback.watched_files import WatchedFiles
from sightline_telemetry.events.layout import LABELS, body_event
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.quality import Quality, quality_to_bytes

_log = logging.getLogger(__name__)

READS_EVERY_S = 1.0
RETRIES_EVERY_S = 3.0
PRUNES_EVERY_S = 600.0
TELLS_EVERY_S = 60.0
WAITING_BODIES = 64
"""Bodies that may wait for the ledger; further ones are refused with a 503."""
ANSWER_S = 10.0
OPEN_S = 3.0
"""How long the start of the service waits for the ledger, without which it serves predictions too."""
CLOSE_S = 1.0
"""How long the end of the service waits for the bodies that are still to be recorded."""


_LEDGER, _KEY = "ledger", "feedback_key"
"""Where faults of the feedback are counted."""


@dataclass(frozen=True, slots=True)
class _Job:
    body: bytes
    window: int
    max_bytes: int
    verdicts: "Future[list[str]]"


class LedgerWorker:
    """Records bodies of labels in a thread of its own, and keeps the totals as last seen.

    record: records one body in the ledger and returns one verdict per label.
    write: takes an event with the totals, whenever they were read.
    keys: the files of the keys that sign; without them, labels of predictions of before a restart are forged.
    """

    def __init__(
        self,
        ledger: Ledger,
        record: Callable[[bytes], list[str]],
        faults: Faults,
        write: Callable[[bytes], None],
        keys: WatchedFiles,
    ) -> None:
        self._ledger = ledger
        self._record = record
        self._faults = faults
        self._write = write
        self._keys = keys
        self._next_told_s = dict.fromkeys((_LEDGER, _KEY), 0.0)
        self._thread = Thread(target=self._work, name="ledger", daemon=True)  # a database that hangs must not keep us
        self._jobs: Queue[_Job | None] = Queue(WAITING_BODIES)
        self._is_tried: Future[None] = Future()
        self._is_open = False
        self._next_read_s = self._next_prune_s = 0.0

    async def start(self) -> None:
        """Starts the thread, and waits up to OPEN_S for the first answer of the ledger."""
        self._thread.start()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._is_tried)), OPEN_S)
        if not self._is_open:
            _log.warning("the ledger does not answer: /feedback answers 503 until it does; predictions are served")

    def close(self) -> None:
        """Ends the thread after the bodies that wait. A database that hangs delays this by CLOSE_S, no longer."""
        self._jobs.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    async def run(self, body: bytes, window: int = 0, max_bytes: int = 0) -> list[str]:
        """Records a body and returns one verdict per label. window, max_bytes: as `unpack` takes them.

        Raises LedgerDownError if that does not end in time, and what `unpack` and `record` raise.
        """
        job = _Job(body, window, max_bytes, Future())
        if not self._is_open or self._jobs.qsize() >= WAITING_BODIES - 1:
            raise LedgerDownError("the ledger does not answer, or too much waits for it; send this again")
        self._jobs.put_nowait(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.verdicts), ANSWER_S)
        except TimeoutError:  # a waiting body is cancelled; one that is being recorded is counted whole or not at all
            raise LedgerDownError("the ledger took too long; send this again, nothing is counted twice") from None

    def _work(self) -> None:
        while True:
            self._read_if_due()
            try:
                job = self._jobs.get(timeout=max(0.0, self._next_read_s - monotonic()))
            except Empty:
                continue
            if job is None:
                self._ledger.close()
                return
            self._answer(job)

    def _answer(self, job: _Job) -> None:
        if not job.verdicts.set_running_or_notify_cancel():
            return
        try:
            verdicts = self._record(unpack(job.body, job.window, job.max_bytes))
        except BaseException as error:
            if not isinstance(error, RequestError):
                self._note(_LEDGER, f"the ledger does not take labels: {_reason(error)}")
            job.verdicts.set_exception(error)
            return
        self._show(self._ledger.quality())
        job.verdicts.set_result(verdicts)

    def _read_if_due(self) -> None:
        now_s = monotonic()
        if now_s < self._next_read_s:
            return
        if (gone := self._keys.missing()) is not None:
            self._note(_KEY, f"the key {gone} was removed or replaced: after a restart, labels of now are forged")
        try:
            if not self._is_open:
                self._ledger.open()
            self._show(self._ledger.read())
            self._is_open = True
            self._prune_if_due(now_s)
        except Exception as error:
            self._is_open = False  # requests are refused at once until it can be opened again
            self._note(_LEDGER, f"the ledger does not answer: {_reason(error)}")
            self._next_read_s = monotonic() + RETRIES_EVERY_S
        else:
            self._next_read_s = monotonic() + READS_EVERY_S
        if not self._is_tried.done():
            self._is_tried.set_result(None)

    def _note(self, place: str, text: str) -> None:
        """Counts a fault, and logs it once per minute: a disk stays full for longer than a log should tell it."""
        self._faults.lose(place)
        now_s = monotonic()
        if now_s >= self._next_told_s[place]:
            self._next_told_s[place] = now_s + TELLS_EVERY_S
            _log.error("%s; it is counted in sightline_faults_total, and logged once per minute", text)

    def _show(self, quality: Quality) -> None:
        """Publishes the totals, each time: an observer that has just started knows none."""
        self._write(body_event(LABELS, quality_to_bytes(quality)))

    def _prune_if_due(self, now_s: float) -> None:
        if now_s >= self._next_prune_s:
            has_more = self._ledger.prune()  # in steps, so that bodies are recorded in between
            self._next_prune_s = now_s if has_more else now_s + PRUNES_EVERY_S


def _reason(error: BaseException) -> str:
    """Returns why a ledger fails: what the database said, without the statement and its values."""
    cause = error.__cause__ or error
    return shortened(str(getattr(cause, "orig", cause)) or type(cause).__name__)
