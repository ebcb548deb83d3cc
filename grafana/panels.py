"""The kinds of panels that the dashboards are made of, each with its unit, its words and a way on."""

from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models
from grafana_foundation_sdk.models import tempo as tempo_models

from grafana.links import Link

PROMETHEUS = common_models.DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO = common_models.DataSourceRef(type_val="tempo", uid="tempo")

REFS = "ABCDEFGH"

Panel = Builder[models.Panel]
P = TypeVar("P", timeseries.Panel, heatmap.Panel, stat.Panel, barchart.Panel, table.Panel)


@dataclass(frozen=True, slots=True)
class About:
    """What a panel shows: its title, the unit as Grafana spells it, what to read in it, and where to go next."""

    title: str
    unit: str
    description: str
    onward: Link


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel, and how its series are called in the legend."""

    promql: str
    legend: str
    has_exemplars: bool = False


def lines(about: About, *queries: Query, is_stacked: bool = False, limit: float | None = None) -> timeseries.Panel:
    """Lines over time. limit: drawn as a dashed line."""
    panel = _described(timeseries.Panel(), about, 8, 8)
    for ref, query in zip(REFS, queries, strict=False):
        panel.with_target(_range(query, ref))
    panel.line_width(1).fill_opacity(20 if is_stacked else 5).show_points(common_models.VisibilityMode.NEVER).min(0)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
    )
    panel.tooltip(
        common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING)
    )
    if is_stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if limit is not None:
        panel.thresholds(_steps(("green", None), ("red", limit)))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    return panel


def heat(about: About, buckets: Query) -> heatmap.Panel:
    """A heatmap of classic buckets, which draws a dot for each exemplar."""
    target = _range(buckets, "A").format(prometheus_models.PromQueryFormat.HEATMAP)
    panel = _described(heatmap.Panel(), about, 12, 9).with_target(target)
    panel.calculate(False).y_axis(heatmap.YAxisConfig().unit(about.unit)).exemplars_color("rgba(255,120,10,0.9)")
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heatmap_models.HeatmapColorMode.SCHEME)
        .scheme("Blues")
        .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
    )
    return panel


def number(about: About, query: Query, *steps: tuple[str, float | None]) -> stat.Panel:
    """One number that stands for now. steps: colours and the values from which they hold, the first without one."""
    panel = _described(stat.Panel(), about, 6, 4).with_target(_range(query, "A"))
    panel.graph_mode(common_models.BigValueGraphMode.AREA).color_mode(common_models.BigValueColorMode.VALUE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.thresholds(_steps(*(steps or (("blue", None),))))


def bars(about: About, x_field: str, *queries: Query, order: str | None = None) -> barchart.Panel:
    """Bars of this moment, side by side for each value of a label.

    x_field: that label. order: a label with numbers in whose order they stand, if not in that of their names.
    """
    panel = _described(barchart.Panel(), about, 12, 8).x_field(x_field).min(0)
    for ref, query in zip(REFS, queries, strict=False):
        panel.with_target(_instant(query, ref))
    panel.with_transformation(_transformation("merge"))
    if order is not None:
        number = {"targetField": order, "destinationType": "number"}
        panel.with_transformation(_transformation("convertFieldType", conversions=[number]))
    panel.with_transformation(_transformation("sortBy", sort=[{"field": order or x_field}]))
    return panel.with_transformation(_columns({x_field: x_field, **_legends(queries)}))


def matrix(about: About, row: str, column: str, query: Query) -> table.Panel:
    """A table of this moment with a row for each value of one label and a column for each of another."""
    panel = _described(table.Panel(), about, 8, 8).with_target(_instant(query, "A"))
    return panel.with_transformation(
        _transformation("groupingToMatrix", columnField=column, rowField=row, valueField="Value", emptyValue="zero")
    )


def rows(about: About, label: str, *queries: Query, shares: tuple[str, ...] = ()) -> table.Panel:
    """A table of this moment: a row for each value of a label, a column for each query, the first one's largest on top.

    The columns named in `shares` are shares of rows.
    """
    panel = _described(table.Panel(), about, 24, 10)
    for ref, query in zip(REFS, queries, strict=False):
        panel.with_target(_instant(query, ref))
    panel.with_transformation(_transformation("merge"))
    panel.with_transformation(_columns({label: label, **_legends(queries)})).decimals(3)
    for share in shares:
        panel.override_by_name(share, [models.DynamicConfigValue("unit", "percentunit")])
    return panel.sort_by([common.TableSortByFieldState().display_name(queries[0].legend).desc(True)])


def traces(about: About, traceql: str, limit: int) -> table.Panel:
    """The newest traces that a TraceQL query finds, the slowest of them first. limit: how many, at most."""
    target = (
        tempo.Dataquery()
        .ref_id("A")
        .datasource(TEMPO)
        .query_type("traceql")
        .query(f"{traceql} with (most_recent=true)")  # else Tempo stops at the first that it comes upon
        .limit(limit)
        .table_type(tempo_models.SearchTableType.TRACES)
    )
    panel = _described(table.Panel(), about, 12, 10).datasource(TEMPO).with_target(target)
    return panel.sort_by([common.TableSortByFieldState().display_name("Duration").desc(True)])


def _described(panel: P, about: About, width: int, height: int) -> P:
    panel.title(about.title).unit(about.unit).description(about.description).datasource(PROMETHEUS)
    onward = dashboard.DashboardLink(about.onward.title).type(models.DashboardLinkType.LINK).url(about.onward.url)
    panel.links([onward]).span(width).height(height)
    return panel


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(ref).datasource(PROMETHEUS).expr(query.promql).legend_format(query.legend)
    return target.editor_mode(prometheus_models.QueryEditorMode.CODE)


def _range(query: Query, ref: str) -> prometheus.Dataquery:
    return _target(query, ref).range().exemplar(query.has_exemplars)


def _instant(query: Query, ref: str) -> prometheus.Dataquery:
    return _target(query, ref).instant().format(prometheus_models.PromQueryFormat.TABLE)


def _steps(*steps: tuple[str, float | None]) -> dashboard.ThresholdsConfig:
    config = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return config.steps([models.Threshold(value=value, color=color) for color, value in steps])


def _transformation(name: str, **options: object) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val=name, options=options)


def _legends(queries: tuple[Query, ...]) -> dict[str, str]:
    """What Grafana calls the value of each query once their tables are merged -> what it shall be called."""
    if len(queries) == 1:
        return {"Value": queries[0].legend}
    return {f"Value #{ref}": query.legend for ref, query in zip(REFS, queries, strict=False)}


def _columns(names: dict[str, str]) -> models.DataTransformerConfig:
    """Columns in this order and under these names; neither the time nor a number that was only for the order."""
    order = {name: index for index, name in enumerate(names)}
    hidden = {"Time": True, "bin": True}
    return _transformation("organize", excludeByName=hidden, renameByName=names, indexByName=order)
