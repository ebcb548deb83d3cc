"""*Telemetry*: what watching costs, what waits to leave, what was lost, and which traces exist."""

from grafana_foundation_sdk.models import dashboard as models

from grafana.links import TELEMETRY_UID, TO_FAILED_TRACES, TO_OVERVIEW, TO_SLOW_TRACES
from grafana.panels import About, Panel, Query, lines
from grafana.promql import INSTANCE, VERSION, rate, requests, series, served_total, total
from grafana.screens import Row, Screen
from prometheus.external_metrics import (
    COLLECTOR_QUEUE_CAPACITY,
    COLLECTOR_QUEUE_SIZE,
    COLLECTOR_SENT,
    SDK_COLLECTION_SECONDS,
    SDK_EXPORT_SECONDS,
    SDK_EXPORTS,
    SDK_POINTS_EXPORTED,
    SDK_QUEUE_CAPACITY,
    SDK_QUEUE_SIZE,
    SDK_SPANS_PROCESSED,
    UP,
)
from sightline_telemetry import instruments

_PROCESS = (INSTANCE, *VERSION)
_LEGEND = "{{model_name}} {{model_version}}  {{" + INSTANCE + "}}"


def telemetry() -> models.Dashboard:
    """The screen of those who doubt what the others show."""
    return Screen(
        TELEMETRY_UID,
        "Telemetry",
        "What watching costs, what waits to leave, what was lost, and which traces exist.",
        (
            Row("Traces", _traces()),
            Row("Ways out of the service", _ways_out()),
            Row("Collector", _collector()),
            Row("Its own cost", _cost()),
        ),
    ).build()


def _traces() -> list[Panel]:
    kept = served_total(VERSION, rate(series(instruments.TRACES_KEPT)))
    return [
        lines(
            About(
                "Traces kept", "cps", "By reason: asked for, failed, slow, or the exemplar of a bucket.", TO_SLOW_TRACES
            ),
            Query(served_total(("reason",), rate(series(instruments.TRACES_KEPT))), "{{reason}}"),
            is_stacked=True,
        ),
        lines(
            About(
                "Traces cut by an allowance",
                "cps",
                "Requests that had a reason to be kept and came when its allowance was used up. Raise the allowance in "
                "the settings if those traces are missed.",
                TO_FAILED_TRACES,
            ),
            Query(served_total(("reason",), rate(series(instruments.TRACES_OVER_BUDGET))), "{{reason}}"),
            is_stacked=True,
        ),
        lines(
            About("Share of requests with a trace", "percentunit", "Kept traces by requests.", TO_OVERVIEW),
            Query(f"{kept} / ({total(VERSION, requests())} > 0)", "{{model_name}} {{model_version}}"),
        ),
    ]


def _ways_out() -> list[Panel]:
    return [
        lines(
            About(
                "Spans handed on and dropped",
                "cps",
                "Spans by what became of them. Without an error they went to the exporter; queue_full are lost, and "
                "exemplars that point to them lead nowhere.",
                TO_SLOW_TRACES,
            ),
            Query(served_total(("error_type",), rate(f"{SDK_SPANS_PROCESSED}{{}}")), "{{error_type}}"),
        ),
        lines(
            About("Span queue", "percentunit", "How full the queue of spans is; at 100 % spans are lost.", TO_OVERVIEW),
            Query(
                " / ".join(served_total(_PROCESS, f"{gauge}{{}}") for gauge in (SDK_QUEUE_SIZE, SDK_QUEUE_CAPACITY)),
                _LEGEND,
            ),
            limit=1,
        ),
        lines(
            About(
                "Exports",
                "cps",
                "Exports of spans and of metrics to the collector, by exporter and by the error that ended them.",
                TO_OVERVIEW,
            ),
            Query(
                served_total(("otel_component_type", "error_type"), rate(f"{SDK_EXPORTS}{{}}")),
                "{{otel_component_type}} {{error_type}}",
            ),
        ),
        lines(
            About("Time of an export", "s", "Mean time until the collector has taken an export.", TO_OVERVIEW),
            Query(
                f"{served_total(('otel_component_type',), rate(f'{SDK_EXPORT_SECONDS}{{}}'))} / "
                f"({served_total(('otel_component_type',), rate(f'{SDK_EXPORTS}{{}}'))} > 0)",
                "{{otel_component_type}}",
            ),
        ),
        lines(
            About(
                "Faults",
                "cps",
                "Faults of the telemetry itself, by place. None of them reached a request; the log has each kind once.",
                TO_OVERVIEW,
            ),
            Query(served_total(("place",), rate(series(instruments.FAULTS))), "{{place}}"),
        ).span(16),
    ]


def _collector() -> list[Panel]:
    # Scraped every 15 s, not exported every 5: a rate over less than a minute could miss.
    sent = " or ".join(f"sum by (exporter) ({rate(f'{name}{{}}', '1m')})" for name in COLLECTOR_SENT)
    return [
        lines(
            About(
                "Queues of the collector",
                "percentunit",
                "How full the queue before each backend is. It lies on disk, and fills while a backend is away.",
                TO_OVERVIEW,
            ),
            Query(
                f"max by (exporter, data_type) ({COLLECTOR_QUEUE_SIZE}{{}} / {COLLECTOR_QUEUE_CAPACITY}{{}})",
                "{{data_type}} to {{exporter}}",
            ),
            limit=1,
        ),
        lines(
            About("Sent by the collector", "cps", "Spans and data points that backends took, a second.", TO_OVERVIEW),
            Query(sent, "{{exporter}}"),
        ),
        lines(
            About("Collectors that answer", "short", "1 for each that Prometheus can scrape.", TO_OVERVIEW),
            Query(f"sum by (job) ({UP}{{}})", "{{job}}"),
        ),
    ]


def _cost() -> list[Panel]:
    metric_exports = f'{SDK_EXPORTS}{{otel_component_type=~".*metric_exporter"}}'
    return [
        lines(
            About(
                "Data points an export",
                "short",
                "How many data points a process sends each time. It is flat: labels come from the training data.",
                TO_OVERVIEW,
            ),
            Query(
                f"{served_total(_PROCESS, rate(f'{SDK_POINTS_EXPORTED}{{}}'))} / "
                f"({served_total(_PROCESS, rate(metric_exports))} > 0)",
                _LEGEND,
            ),
        ),
        lines(
            About(
                "Time spent reading counts",
                "percentunit",
                "Seconds per second that a process reads its counts for export; 100 % is one core.",
                TO_OVERVIEW,
            ),
            Query(served_total(_PROCESS, rate(f"{SDK_COLLECTION_SECONDS}{{}}")), _LEGEND),
        ),
        lines(
            About(
                "Time spent exporting",
                "percentunit",
                "Seconds per second under way to the collector, in threads of their own; most of it is waiting.",
                TO_OVERVIEW,
            ),
            Query(
                served_total((*_PROCESS, "otel_component_type"), rate(f"{SDK_EXPORT_SECONDS}{{}}")),
                "{{otel_component_type}}  " + _LEGEND,
            ),
        ),
    ]
