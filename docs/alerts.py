"""Writes docs/alerts.md from the rules in prometheus/rules and the runbooks beside them.

uv run python docs/alerts.py
"""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("alerts.md")

_HEAD = """\
# Alerts

Made by `make docs` from the [rules](../prometheus/write.py) and the runbooks; change those, not this.

A *page* needs a person now; a *ticket* can wait until the next working day. Each alert leads to its runbook, which \
Prometheus serves too.
"""
_TITLES = {
    "golden_signals": "Golden signals",
    "saturation": "Saturation",
    "quality": "Quality of the model",
    "drift": "Drift",
    "data_quality": "Quality of the inputs",
    "telemetry_health": "Health of the telemetry",
}


def alerts_page() -> str:
    """The page: one table per file of rules."""
    return "\n".join([_HEAD, *(_section(file, title) for file, title in _TITLES.items())])


def _section(file: str, title: str) -> str:
    groups = yaml.safe_load((ROOT / f"prometheus/rules/{file}.yaml").read_text(encoding="utf-8"))["groups"]
    severities = {
        rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule
    }
    rows = [
        f"| [{name}](../prometheus/runbooks/{name}.md) | {severity} | {_meaning(name)} |"
        for name, severity in severities.items()
    ]
    return "\n".join([f"## {title}\n", "| alert | severity | meaning |", "|---|---|---|", *rows, ""])


def _meaning(alert: str) -> str:
    """The first sentence of the alert's runbook under *Meaning*."""
    text = (ROOT / f"prometheus/runbooks/{alert}.md").read_text(encoding="utf-8")
    paragraph = " ".join(text.partition("## Meaning\n")[2].partition("\n## ")[0].split())
    return re.split(r"(?<=[.:])\s+(?=[A-Z`])", paragraph)[0]


if __name__ == "__main__":
    PAGE.write_text(alerts_page(), encoding="utf-8")
