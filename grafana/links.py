"""Where a panel leads: to another dashboard with the same model and time, or to a search for traces."""

import json
from dataclasses import dataclass
from urllib.parse import quote

from prometheus.selectors import NO_TRAFFIC

OVERVIEW_UID = "sightline-overview"
PREDICTIONS_UID = "sightline-predictions"
FEATURES_UID = "sightline-features"
TELEMETRY_UID = "sightline-telemetry"

SERVER_SPANS = f'resource.service.name =~ "${{service:pipe}}" && kind = server && span.http.route !~ "{NO_TRAFFIC}"'
"""Requests that the chosen models answered. `:pipe`, because a link would write the values of a variable as `{a,b}`,
even of one that has only one."""


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
    return Link(title, f"/explore?schemaVersion=1&panes={quote(json.dumps({'a': pane}), safe='${:}')}")


TO_SLOW_TRACES = search_traces("Slow traces", f"{{ {SERVER_SPANS} && duration > 500ms }}")
TO_FAILED_TRACES = search_traces("Failed traces", f"{{ {SERVER_SPANS} && status = error }}")
