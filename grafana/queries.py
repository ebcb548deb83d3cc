"""Everything that the dashboards ask, read out of their JSON model: what a test runs against the real backends."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

Json = dict[str, Any]

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class DashboardQuery:
    """One query of a dashboard, as it is written there.

    place: `panel`, or `variable` and `annotation`, which may have no answer at this moment.
    """

    dashboard: str
    panel: str
    place: Literal["panel", "variable", "annotation"]
    language: Literal["promql", "traceql"]
    text: str
    has_exemplars: bool = False

    def substituted(self, values: Mapping[str, str]) -> str:
        """The text with each `$name`, `${name}` and `${name:format}` replaced by its value.

        >>> DashboardQuery("d", "p", "panel", "promql", 'rate(x{m=~"$model"}[$__rate_interval])').substituted(
        ...     {"model": "a", "__rate_interval": "1m"}
        ... )
        'rate(x{m=~"a"}[1m])'
        """
        return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], found[0]), self.text)


def as_json(dashboard: Dashboard) -> Json:
    """A dashboard as Grafana reads it from a file."""
    model: Json = json.loads(json.dumps(dashboard, cls=JSONEncoder), object_hook=_without_placement)
    return model


def panels(model: Json) -> Iterator[Json]:
    """Every panel that draws something, those folded into a row among them."""
    for panel in model["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def queries(model: Json) -> Iterator[DashboardQuery]:
    """Every query of a dashboard: of its panels, its annotations and its variables."""
    title = model["title"]
    for panel in panels(model):
        for target in panel["targets"]:
            if target["datasource"]["type"] == "tempo":
                yield DashboardQuery(title, panel["title"], "panel", "traceql", target["query"])
            else:
                dots = bool(target.get("exemplar"))
                yield DashboardQuery(title, panel["title"], "panel", "promql", target["expr"], dots)
    for annotation in model["annotations"]["list"]:
        yield DashboardQuery(title, annotation["name"], "annotation", "promql", annotation["target"]["expr"])
    for variable in model["templating"]["list"]:
        if variable["type"] == "query":
            yield DashboardQuery(
                title, variable["name"], "variable", "promql", _of_variable(variable["query"]["query"])
            )


def _of_variable(text: str) -> str:
    """The PromQL inside `label_values(selector, label)` or `query_result(query)`.

    >>> _of_variable('label_values(up{a="b"}, a)'), _of_variable("query_result(topk(3, up))")
    ('up{a="b"}', 'topk(3, up)')
    """
    function, _, inner = text.partition("(")
    inner = inner.removesuffix(")")
    return inner.rpartition(",")[0] if function == "label_values" else inner


def _without_placement(node: Json) -> Json:
    """The SDK gives every link and annotation the one `placement` there is: hidden in a menu. They shall be seen."""
    return {key: value for key, value in node.items() if key != "placement" or value != "inControlsMenu"}
