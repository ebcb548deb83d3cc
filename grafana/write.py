"""`python -m grafana.write`: writes every dashboard's JSON into grafana/dashboards/, where Grafana reads it."""

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.features import features
from grafana.overview import overview
from grafana.predictions import predictions
from grafana.queries import as_json
from grafana.telemetry import telemetry

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "predictions": predictions,
    "features": features,
    "telemetry": telemetry,
}


def render(dashboard: Dashboard) -> str:
    """The text of a dashboard's file."""
    return json.dumps(as_json(dashboard), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the files, and removes those of dashboards that are no more."""
    FOLDER.mkdir(exist_ok=True)
    for stale in set(FOLDER.glob("*.json")) - {FOLDER / f"{name}.json" for name in DASHBOARDS}:
        stale.unlink()
    for name, build in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(render(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
