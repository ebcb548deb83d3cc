"""Sightline with a part of its bypass of ASGI left out, to measure what the part gives.

python -m benchmarks.apps.bypass {no-joined-writes,no-busy-rule} BUNDLE PORT
"""

import sys

from sightline_service.cli import cli
from sightline_service.server import asgi_bypass, protocol
from sightline_service.server.joined_writes import CoalescingTransport, WriteBatch


class DirectTransport(CoalescingTransport):
    """A transport that writes each part at once."""

    def write(self, data: bytes) -> None:
        """Writes now."""
        self._transport.write(data)

    def write_answer(self, data: bytes) -> None:
        """Writes now."""
        self._transport.write(data)


class PatientBatch(WriteBatch):
    """A batch of writes that lets a single answer wait until the iteration of the event loop ends, too."""

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = True

    def _end(self) -> None:
        super()._end()
        self.is_busy = True


def main(part: str, bundle: str, port: str) -> None:
    """Serves a bundle without one part."""
    if part == "no-joined-writes":
        protocol.CoalescingTransport = DirectTransport  # type: ignore[attr-defined]
    else:
        asgi_bypass.WriteBatch = PatientBatch  # type: ignore[attr-defined]
    cli(["serve", bundle, "--port", port])


if __name__ == "__main__":
    main(*sys.argv[1:])
