"""What the request log costs: on the way of a request, and in the thread that writes.

uv run python benchmarks/log_cost.py
"""

import io
from time import process_time

from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.golden_signals import RequestKind
from sightline_telemetry.requests.logs import MAX_WAITING, RequestLog
from sightline_telemetry.requests.timeline import Timeline

ROUNDS = 5


def main() -> None:
    """Prints both, the best of some rounds in CPU time."""
    noting, writing = [], []
    kind, timeline = RequestKind("POST", "/predict/model", 200), Timeline()
    timeline.end()
    for _ in range(ROUNDS):
        log = RequestLog(Faults("request_log"), io.StringIO())
        start = process_time()
        for _ in range(MAX_WAITING):
            log.note(kind, timeline, "slow")
        noted = process_time()
        log.write()
        noting.append((noted - start) / MAX_WAITING * 1e6)
        writing.append((process_time() - noted) / MAX_WAITING * 1e6)
    print(f"a request waits {min(noting):.2f} us for its line; writing the line costs {min(writing):.2f} us elsewhere")


if __name__ == "__main__":
    main()
