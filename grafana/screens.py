"""A dashboard of rows: variables for model and version, deploys as annotations, links to the other dashboards."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as models

from grafana.panels import PROMETHEUS, Panel
from grafana.promql import VERSION, series
from sightline_telemetry.instruments import QUEUE_LENGTH

TAG = "sightline"

# The dummy model is no model: with it, "All" would join every process twice.
_MODELS = f'{QUEUE_LENGTH.prometheus_name}{{model_name!="random"}}'
_DEPLOY_S = 300
"""For so long after a version's first sample a range query of any usual step sees it as new."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading. repeated_by: a variable, for each value of which the row stands once."""

    title: str
    panels: Sequence[Panel]
    repeated_by: str | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """One dashboard before it is built."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[dashboard.QueryVariable | dashboard.CustomVariable] = ()

    def build(self) -> models.Dashboard:
        """The dashboard in Grafana's Classic model, its panels numbered and placed."""
        built = dashboard.Dashboard(self.title).uid(self.uid).description(self.description).tags([TAG])
        built.time("now-30m", "now").refresh("10s").timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
        built.variables([*model_variables(), *self.variables]).annotation(_deploys())
        built.link(
            dashboard.DashboardLink("Sightline")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
            .tooltip("The other dashboards, for the same model and time")
        )
        for row in self.rows:
            heading = dashboard.Row(row.title)
            if row.repeated_by is not None:
                heading.repeat(row.repeated_by)
            built.with_row(heading)
            for panel in row.panels:
                built.with_panel(panel)
        screen = built.build()
        for number, placed in enumerate(screen.panels or (), start=1):
            placed.id_val = number
        return screen


def variable(name: str, label: str, query: str, description: str) -> dashboard.QueryVariable:
    """Returns a variable with several values, which Prometheus returns; at first all are chosen."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def choice(name: str, label: str, values: str, chosen: str, description: str) -> dashboard.CustomVariable:
    """A variable with fixed values, separated by commas, one of which is chosen at first."""
    return (
        dashboard.CustomVariable(name)
        .label(label)
        .description(description)
        .values(values)
        .current(models.VariableOption(selected=True, text=chosen, value=chosen))
    )


def model_variables() -> list[dashboard.QueryVariable]:
    """Model and version, which every query of a model is narrowed to, and what their traces are stored under."""
    versions = _MODELS.replace("{", '{model_name=~"$model", ')
    return [
        variable("model", "Model", f"label_values({_MODELS}, model_name)", "What is served."),
        variable("version", "Version", f"label_values({versions}, model_version)", "Which version of it."),
        variable(
            "service",
            "Service",
            f"label_values({series(QUEUE_LENGTH)}, service_name)",
            "The service.name under which the chosen models' traces are stored.",
        ).hide(models.VariableHide.HIDE_VARIABLE),
    ]


def _deploys() -> dashboard.AnnotationQuery:
    """A line where a model's version was first seen: it is there now and was not there five minutes before."""
    now = f"group by ({', '.join(VERSION)}) ({series(QUEUE_LENGTH)})"
    before = f"group by ({', '.join(VERSION)}) ({series(QUEUE_LENGTH)} offset {_DEPLOY_S}s)"
    expr = f"{now} unless {before}"
    target = prometheus.Dataquery().ref_id("Deploys").datasource(PROMETHEUS).expr(expr).range()
    return (
        dashboard.AnnotationQuery()
        .name("Deploys")
        .datasource(PROMETHEUS)
        .target(target)
        .expr(expr)
        .step("60s")
        .title_format("{{model_name}} {{model_version}} is served")
        .text_format("First sample of this version")
        .tag_keys("model_name,model_version")
        .icon_color("purple")
        .enable(True)
    )
