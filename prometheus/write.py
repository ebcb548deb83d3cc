"""Writes the files of rules that Prometheus loads: `python -m prometheus.write`, or `make rules WINDOW=24h`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from prometheus.data_quality import data_quality
from prometheus.drift import drift_group
from prometheus.drift_alerts import drift_alerts
from prometheus.golden_signals import golden_signals
from prometheus.quality import quality
from prometheus.quality_alerts import quality_alerts
from prometheus.rule import Group, Places, render
from prometheus.saturation import saturation
from prometheus.telemetry_health import telemetry_health
from prometheus.windows import Windows, parse

FOLDER = Path(__file__).parent / "rules"
WINDOW = "24h"
PLACES = Places("http://localhost:3000", "{{ externalURL }}/user")
"""Grafana of docker-compose.yaml; runbooks where Prometheus serves them, with --web.user-assets on their folder."""

_FILES: dict[str, tuple[str, Callable[[Windows], list[Group]]]] = {
    "golden_signals": ("Golden signals by route and model version, SLOs and burn rates.", golden_signals),
    "saturation": ("Queue, CPU and memory of the processes.", saturation),
    "drift": (
        "Drift of features, scores and predictions against training. docs/drift.md says how often it errs.",
        lambda windows: [drift_group(windows), drift_alerts(windows)],
    ),
    "data_quality": ("Inputs that are missing, imputed, unseen, out of range or refused.", data_quality),
    "quality": (
        "How good the model is, by the labels that came back.",
        lambda windows: [*quality(windows), quality_alerts(windows)],
    ),
    "telemetry_health": ("The health of the telemetry itself.", telemetry_health),
}

_TRAP = (
    "Written by `make rules`; change the Python in prometheus/, not this file. Read by Prometheus.\n"
    "Trap: windows, steps and holds follow from one window; another one is `make rules WINDOW=1h`."
)


def render_all(windows: Windows, places: Places = PLACES) -> dict[str, str]:
    """File name -> its text."""
    return {
        f"{name}.yaml": render(f"{head}\n{_TRAP}", groups(windows), places) for name, (head, groups) in _FILES.items()
    }


def write(folder: Path, windows: Windows, places: Places = PLACES) -> list[Path]:
    """Writes every file into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in render_all(windows, places).items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the files that the command line describes, and prints their paths."""
    parser = argparse.ArgumentParser(prog="python -m prometheus.write", description=__doc__)
    parser.add_argument("--window", default=WINDOW, help="what drift is judged over; all else follows (24h)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the files (prometheus/rules)")
    parser.add_argument("--grafana", default=PLACES.grafana, help="address of Grafana, for the links of alerts")
    parser.add_argument("--runbooks", default=PLACES.runbooks, help="address of the folder of runbooks")
    options = parser.parse_args(arguments)
    for path in write(options.out, Windows(parse(options.window)), Places(options.grafana, options.runbooks)):
        print(path)


if __name__ == "__main__":
    main()
