"""Where a panel leads: to another dashboard with the same model and time, or to a search for traces."""

import json
from dataclasses import dataclass
from urllib.parse import quote

OVERVIEW_UID = "sightline-overview"
PREDICTIONS_UID = "sightline-predictions"
FEATURES_UID = "sightline-features"
TELEMETRY_UID = "sightline-telemetry"

SERVER_SPANS = 'resource.service.name =~ "$service" && kind = server'


@dataclass(frozen=True, slots=True)
class Link:
    """What stands on it, and where it leads."""

    title: str
    url: str


def _to(uid: str, title: str) -> Link:
    return Link(title, f"/d/{uid}?${{__url_time_range}}&${{model:queryparam}}&${{version:queryparam}}")


TO_OVERVIEW = _to(OVERVIEW_UID, "Overview")
TO_PREDICTIONS = _to(PREDICTIONS_UID, "Predictions and labels")
TO_FEATURES = _to(FEATURES_UID, "Features")
TO_TELEMETRY = _to(TELEMETRY_UID, "Telemetry")


def search_traces(title: str, traceql: str) -> Link:
    """Explore with a TraceQL query over the dashboard's time range.

    Variables stay as they are: Grafana fills them in when the link is followed.
    """
    query = {"refId": "A", "datasource": {"type": "tempo", "uid": "tempo"}, "queryType": "traceql", "query": traceql}
    pane = {"datasource": "tempo", "queries": [query], "range": {"from": "${__from}", "to": "${__to}"}}
    return Link(title, f"/explore?schemaVersion=1&panes={quote(json.dumps({'a': pane}), safe='${}')}")


TO_SLOW_TRACES = search_traces("Slow traces", f"{{ {SERVER_SPANS} && duration > 500ms }}")
TO_FAILED_TRACES = search_traces("Failed traces", f"{{ {SERVER_SPANS} && status = error }}")
