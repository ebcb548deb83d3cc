"""What the rules of drift cost Prometheus: a hundred features, ten replicas, a window of 24 hours.

    uv run python benchmarks/rules_cost.py

Samples every five seconds of 100 numeric features (10 bins each) on 10 replicas are written as blocks by promtool,
beside what the rules themselves would have recorded in a day (a week, for skew). Then the real Prometheus loads the
committed rules, evaluated every ten seconds in place of four minutes, and says how long each group took. Needs
`make stack`.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from prometheus.windows import Windows, parse, text
from prometheus.write import WINDOW, render_all
from tests.stack.processes import Process, binary, free_port

FEATURES, REPLICAS, BINS = 100, 10, 10
RAW_S = 360
"""Raw samples reach so far back: rules read one step of them, the rest of a day would only be load."""

EXPORT_S = 5
"""The service's export interval. Blocks end before Prometheus starts, so the last step lacks the seconds since then."""

EVERY_S = 10
ROUNDS = 6
AIM_S = 1.0

_MODEL = 'model_name="flights",model_version="1"'


def samples(windows: Windows, now_s: int) -> Iterator[str]:
    """OpenMetrics text: raw counters of every replica, the reference, and what the rules have recorded until now."""
    yield from _raw("ml_feature_value_bucket", now_s, grows=True)
    yield from _raw("ml_reference_feature_value_bucket", now_s, grows=False)
    yield "# TYPE drift:increase unknown\n"
    for _, number, labels in _buckets():
        for at_s in range(now_s - windows.window_s, now_s, windows.step_s):
            yield f"drift:increase{{{labels}}} {(number + 1) * 2_400} {at_s}\n"
    yield "# TYPE drift:feature_ratio unknown\n"
    for feature in range(FEATURES):
        for at_s in range(now_s - windows.week_s, now_s, windows.step_s):
            yield f'drift:feature_ratio{{{_MODEL},feature="f{feature}"}} 0.2 {at_s}\n'
    yield "# EOF\n"


def _raw(name: str, now_s: int, *, grows: bool) -> Iterator[str]:
    yield f"# TYPE {name} unknown\n"
    for feature, number, labels in _buckets():
        rate = (number + 1) * (feature % 7 + 1)
        for replica in range(REPLICAS):
            series = f'{name}{{{labels},job="s",instance="{replica}"}}'
            for age_s in range(0, RAW_S, EXPORT_S):
                value = age_s * rate if grows else rate * 10_000
                yield f"{series} {value} {now_s - RAW_S + age_s}\n"


def _buckets() -> Iterator[tuple[int, int, str]]:
    les = [*(str(edge) for edge in range(1, BINS)), "+Inf"]
    for feature in range(FEATURES):
        for number, le in enumerate(les):
            yield feature, number, f'{_MODEL},feature="f{feature}",le="{le}"'


def measured(folder: Path) -> dict[str, list[float]]:
    """Seconds of each evaluation of each group of rules, as Prometheus reports them."""
    windows = Windows(parse(WINDOW))
    now_s = int(time.time())
    data = folder / "data"
    metrics = folder / "metrics.txt"
    with metrics.open("w", encoding="utf-8") as file:
        file.writelines(samples(windows, now_s))
    blocks = [str(binary("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(metrics), str(data)]
    subprocess.run(blocks, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # ours
    (folder / "rules").mkdir()
    for name, rules in render_all(windows).items():
        often = re.sub(rf"interval: {text(windows.step_s)}\b", f"interval: {EVERY_S}s", rules)
        (folder / "rules" / name).write_text(often, encoding="utf-8")
    (folder / "prometheus.yml").write_text(
        f"global: {{evaluation_interval: {EVERY_S}s}}\nrule_files: [rules/*.yaml]\n", encoding="utf-8"
    )
    url = f"http://127.0.0.1:{free_port()}"
    command: list[str | Path] = [
        binary("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--storage.tsdb.retention.time=30d",
    ]
    with Process("prometheus", command, f"{url}/-/ready", folder / "prometheus.log"):
        return _read(url)


def _read(url: str) -> dict[str, list[float]]:
    seconds: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS * 2):
        time.sleep(EVERY_S / 2)
        with urlopen(f"{url}/api/v1/rules") as answer:  # noqa: S310  # loopback
            groups = json.load(answer)["data"]["groups"]
        for group in groups:
            broken = [rule for rule in group["rules"] if rule["health"] == "err"]
            assert not broken, broken
            if group["evaluationTime"]:
                seconds.setdefault(group["name"], {})[group["lastEvaluation"]] = group["evaluationTime"]
    with urlopen(f"{url}/api/v1/query?query=count(drift:ratio)") as answer:  # noqa: S310
        assert json.load(answer)["data"]["result"][0]["value"][1] == str(2 * FEATURES)
    return {name: list(times.values()) for name, times in seconds.items()}


def main() -> int:
    """Prints a line a group; 1 if drift took longer than the aim."""
    with tempfile.TemporaryDirectory() as folder:
        groups = measured(Path(folder))
    print(
        f"{FEATURES} numeric features of {BINS} bins, {REPLICAS} replicas, window {WINDOW}, samples every {EXPORT_S} s"
    )
    for name, seconds in groups.items():
        print(f"{name:>16}: median {median(seconds) * 1e3:7.1f} ms, slowest {max(seconds) * 1e3:7.1f} ms")
    drift_s = sum(median(groups[name]) for name in ("drift", "drift-alerts", "data-quality"))
    print(f"drift and data quality together {drift_s * 1e3:.0f} ms an evaluation; aim: under {AIM_S:g} s")
    return int(drift_s >= AIM_S)


if __name__ == "__main__":
    sys.exit(main())
