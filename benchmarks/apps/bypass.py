"""Sightline with a part of its bypass of ASGI left out, to measure what the part gives.

python -m benchmarks.apps.bypass {no-joined-writes,no-busy-rule} BUNDLE PORT
"""

import asyncio
import os
import sys

from sightline_service import worker
from sightline_service.server import asgi_bypass, connection
from sightline_service.server.joined_writes import CoalescingTransport, WriteBatch
from sightline_service.settings import PREFIX
from sightline_telemetry.observer.supervisor import Plan


class DirectTransport(CoalescingTransport):
    """A transport that writes each part at once."""

    def write(self, data: bytes) -> None:
        """Writes now."""
        self._transport.write(data)

    def write_answer(self, data: bytes, slot: int) -> None:
        """Writes now."""
        self._transport.write(data)
        self._batch.release([slot] if slot >= 0 else [])


class PatientBatch(WriteBatch):
    """A batch of writes that lets a single answer wait until the iteration of the event loop ends, too."""

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = True

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        super()._end(loop)
        self.is_busy = True


def serve(part: str, bundle: str, port: str) -> None:
    """Becomes the supervisor of an observer and a worker that leaves out one part."""
    os.environ[f"{PREFIX}BUNDLE"] = bundle
    this = [sys.executable, "-m", "benchmarks.apps.bypass", part]
    observer = [sys.executable, "-m", "sightline_telemetry.observer.process"]
    plan = Plan(observer, this, n_workers=1, host="127.0.0.1", port=int(port))
    command = [sys.executable, "-m", "sightline_telemetry.observer.supervisor", plan.to_json()]
    os.execv(sys.executable, command)  # noqa: S606  # the command of this file


def work(part: str) -> int:
    """Serves as a worker, without one part."""
    if part == "no-joined-writes":
        connection.CoalescingTransport = DirectTransport  # type: ignore[attr-defined]
    else:
        asgi_bypass.WriteBatch = PatientBatch  # type: ignore[attr-defined]
    return worker.main()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(work(sys.argv[1]))
    serve(*sys.argv[1:])
