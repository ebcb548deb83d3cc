"""However a process ends, the counts that it measured have left; on every Python that runs these tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sightline_telemetry.model.profile import ReferenceProfile
from sightline_telemetry.model.profile_file import save_profile
from tests.telemetry.sink import Sink

pytestmark = pytest.mark.usefixtures("no_otel_variables")

# Measures ten rows; then the interval of exports is so long that only the way out can deliver them.
_APP = """
import multiprocessing, os, signal, sys
from pathlib import Path
from sightline_telemetry import Measurement, load_profile

measure = Measurement("m", "1", load_profile(Path(sys.argv[1])))
rows = {"age": range(10), "gain": [0.0] * 10, "city": ["Bern"] * 10}

def count():
    measure.start(wait_s=5)
    measure(rows, ["yes"] * 10)

"""

WAYS = {
    "the end of the program": "count()",
    "without a wait for the first export": 'measure(rows, ["yes"] * 10)',
    "a with block": 'with measure:\n    measure(rows, ["yes"] * 10)\n    sys.stdout.flush()',
    "close": "count()\nmeasure.close()\nos._exit(0)",
    "sys.exit": "count()\nsys.exit(3)",
    "an exception": "count()\nraise RuntimeError('the app failed')",
    "an exception in a with block": "with measure:\n    count()\n    raise RuntimeError('the app failed')",
    "SIGTERM with a handler that exits": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\ncount()\nos.kill(os.getpid(), signal.SIGTERM)"
    ),
    "an interrupt": (  # a shell starts what runs in the background with this signal ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\ncount()\nsignal.raise_signal(signal.SIGINT)"
    ),
    "a forked child": "child = os.fork()\nif not child:\n    count()\n    sys.exit()\nos.waitpid(child, 0)",
    "a child of multiprocessing": (
        "child = multiprocessing.get_context('fork').Process(target=count)\nchild.start()\nchild.join()"
    ),
}
CODES = {"sys.exit": 3, "an exception": 1, "an exception in a with block": 1, "an interrupt": -signal.SIGINT}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals and fork")
@pytest.mark.parametrize("way", WAYS)
def test_the_last_counts_leave(way: str, profile: ReferenceProfile, sink: Sink, tmp_path: Path) -> None:
    """All ten rows are at the endpoint once the process has ended, and the way out prints no fault of ours."""
    save_profile(profile, tmp_path / "profile.json")
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
    }
    done = subprocess.run(
        [sys.executable, "-c", _APP + WAYS[way], str(tmp_path / "profile.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == CODES.get(way, 0), done.stderr
    assert "telemetry" not in done.stderr.replace("sightline_telemetry", "")
    counts = [
        sum(point.as_int for point in metrics["ml.predictions"].sum.data_points) for metrics in sink.last().values()
    ]
    assert max(counts) == 10
