"""Writes docs/metrics.md from the list in telemetry/sightline_telemetry/instruments.py.

uv run python docs/metrics.py
"""

from pathlib import Path

from sightline_telemetry.instruments import INSTRUMENTS, MODEL, Instrument, InstrumentSource

PAGE = Path(__file__).with_name("metrics.md")

_TITLES: dict[InstrumentSource, str] = {
    "requests": "Requests",
    "process": "The processes that serve",
    "model": "The model: its load, its predictions, its inputs",
    "training": "What training looked like",
    "labels": "Labels that came back",
    "telemetry": "The telemetry itself",
}
_HEAD = """\
# Metrics

Made by `make docs` from [instruments.py](../telemetry/sightline_telemetry/instruments.py); change that, not this.

Every `ml.*` series carries `model.name` and `model.version`, and exists at 0 before the service is \
ready. In Prometheus, dots of names and labels become underscores; a histogram has `_bucket`, `_sum` and \
`_count` behind its name. The values of `feature`, `category`, `outcome`, `predicted` and `actual` come from \
the training data: `__missing__` is a missing value, `__unseen__` a category that training did not have, \
`__other__` any known category beyond the 200 most frequent.

A histogram of values that may be negative (`ml.feature.value`, scores of a regression) has a sum that may \
fall: use its buckets and its count. In regression the rows are one series of `ml.predictions`, without \
`outcome`, so that the sum of `ml_predictions_total` is the number of rows answered for every kind of model.
"""


def metrics_page() -> str:
    """The page: a table for each source of numbers."""
    return "\n".join([_HEAD, *(_section(source, title) for source, title in _TITLES.items())])


def _section(source: InstrumentSource, title: str) -> str:
    rows = [_row(instrument) for instrument in INSTRUMENTS if instrument.source == source]
    head = ("| instrument, and its name in Prometheus | kind, unit | attributes | meaning |", "|---|---|---|---|")
    return "\n".join([f"## {title}\n", *head, *rows, ""])


def _row(instrument: Instrument) -> str:
    unit = f", {instrument.unit}" if instrument.unit else ""
    attributes = ", ".join(f"`{each}`" for each in instrument.attributes if each not in MODEL)
    where = f" Only for {instrument.where}." if instrument.where else ""
    return (
        f"| `{instrument.name}`<br>`{instrument.prometheus_name}` | {instrument.kind}{unit} | {attributes} "
        f"| {instrument.description}{where} |"
    )


if __name__ == "__main__":
    PAGE.write_text(metrics_page(), encoding="utf-8")
