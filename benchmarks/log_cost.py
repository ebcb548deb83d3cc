"""What a line of the request log costs the observer: formatting it, and writing it.

uv run python benchmarks/log_cost.py
"""

import io
from time import process_time

from sightline_telemetry.events.layout import NO_MODEL, NO_SLOT, VERSION, RequestEvent, Texts
from sightline_telemetry.export.logs import MAX_WAITING, LogWriter, request_line
from sightline_telemetry.requests.request_kind import RequestKind

ROUNDS = 5
EVENT = RequestEvent(
    VERSION, 0, 7, 0, 2, 0, NO_MODEL, 0, 200, 0, NO_SLOT, 0, 0, 0, 1, 2, 3, 0, 10**18, 0, 10**7, 0, (), Texts(), b""
)


def lose(place: str, n: int) -> None:
    """Raises RuntimeError: no line may be lost while the cost is measured."""
    raise RuntimeError(f"{place} lost {n} lines")


def main() -> None:
    """Prints both, the best of some rounds in CPU time."""
    formatting, writing = [], []
    kind = RequestKind("POST", "/predict/model", 200)
    for _ in range(ROUNDS):
        log = LogWriter(lose, io.StringIO())
        start = process_time()
        for _ in range(MAX_WAITING):
            log.write(request_line(EVENT, kind, "slow"))
        formatted = process_time()
        log.flush()
        formatting.append((formatted - start) / MAX_WAITING * 1e6)
        writing.append((process_time() - formatted) / MAX_WAITING * 1e6)
    print(f"the observer formats a line in {min(formatting):.2f} us and writes it in {min(writing):.2f} us")


if __name__ == "__main__":
    main()
