"""*Overview*: is it well? Golden signals, predictions, saturation, and the traces to look at."""

from grafana_foundation_sdk.models import dashboard as models

from grafana.links import (
    OVERVIEW_UID,
    SERVER_SPANS,
    TO_FAILED_TRACES,
    TO_FEATURES,
    TO_PREDICTIONS,
    TO_SLOW_TRACES,
    TO_TELEMETRY,
)
from grafana.panels import About, Panel, Query, heat, lines, number, traces
from grafana.promql import (
    INSTANCE,
    VERSION,
    failed_requests,
    quantile,
    rate,
    recorded,
    request_buckets,
    requests,
    series,
    served_total,
    total,
)
from grafana.screens import Row, Screen, choice
from prometheus.external_metrics import ALERTS
from sightline_telemetry import instruments

_ROUTE = ("http_route", *VERSION)
_ROUTE_LEGEND = "{{http_route}}  {{model_name}} {{model_version}}"
_MODEL_LEGEND = "{{model_name}} {{model_version}}"
_DOTS = "Each dot is the trace of one request: click it. "


def overview() -> models.Dashboard:
    """Returns the first screen."""
    return Screen(
        OVERVIEW_UID,
        "Overview",
        "Golden signals of every route and model version, predictions, saturation, and traces to look at.",
        (
            Row("Now", _now()),
            Row("Golden signals", _golden_signals()),
            Row("Model", _model()),
            Row("Saturation", _saturation()),
            Row("Traces", _traces()),
        ),
        (
            choice(
                "slower_than",
                "Traces slower than",
                "1ms,5ms,25ms,100ms,500ms,1s,5s",
                "5ms",
                "What the list of slowest traces begins with.",
            ),
        ),
    ).build()


def _share_failed(by: tuple[str, ...]) -> str:
    every = total(by, requests())
    return f"({failed_requests(by)} or 0 * {every}) / ({every} > 0)"


def _now() -> list[Panel]:
    return [
        number(
            About("Requests", "reqps", "Requests per second, probes and scrapes left out.", TO_TELEMETRY),
            Query(total((), requests()), "requests"),
        ).span(5),
        number(
            About("Failed", "percentunit", "Share of requests answered with 5xx.", TO_FAILED_TRACES),
            Query(_share_failed(()), "failed"),
            ("green", None),
            ("orange", 0.001),
            ("red", 0.01),
        ).span(5),
        number(
            About("99th percentile", "s", "99 of 100 requests are answered within this time.", TO_SLOW_TRACES),
            Query(quantile(0.99, (), request_buckets()), "99 %"),
        ).span(5),
        number(
            About("Predictions", "rowsps", "Rows predicted a second.", TO_PREDICTIONS),
            Query(total((), rate(series(instruments.PREDICTIONS))), "rows"),
        ).span(5),
        number(
            About("Alerts", "short", "Alerts that fire now, of any model; Prometheus lists them.", TO_TELEMETRY),
            Query(f'count({ALERTS}{{alertstate="firing"}}) or vector(0)', "firing"),
            ("green", None),
            ("red", 1),
        ).span(4),
    ]


def _golden_signals() -> list[Panel]:
    return [
        heat(
            About("Latency", "s", _DOTS + "Colour is how many requests per second took that long.", TO_SLOW_TRACES),
            Query(total(("le",), request_buckets()), "{{le}}", has_exemplars=True),
        ).span(16),
        lines(
            About("Traffic", "reqps", "Requests per second by route and by the version that answers.", TO_TELEMETRY),
            Query(total(_ROUTE, requests()), _ROUTE_LEGEND),
        ).height(9),
        lines(
            About("Latency, quantiles", "s", _DOTS + "Median, 95th and 99th percentile by route.", TO_SLOW_TRACES),
            Query(quantile(0.5, _ROUTE, request_buckets()), f"50 %  {_ROUTE_LEGEND}"),
            Query(quantile(0.95, _ROUTE, request_buckets()), f"95 %  {_ROUTE_LEGEND}"),
            Query(quantile(0.99, _ROUTE, request_buckets()), f"99 %  {_ROUTE_LEGEND}", has_exemplars=True),
        ),
        lines(
            About(
                "Errors",
                "reqps",
                "Requests per second answered with 5xx. Each dot is the trace of one of them; its height is the time "
                "it took in seconds, which the axis does not tell.",
                TO_FAILED_TRACES,
            ),
            Query(f"{failed_requests(_ROUTE)} or 0 * {total(_ROUTE, requests())}", _ROUTE_LEGEND, has_exemplars=True),
        ),
        lines(
            About(
                "Errors, share",
                "percentunit",
                "Share of requests answered with 5xx. Dots as in *Errors*.",
                TO_FAILED_TRACES,
            ),
            Query(_share_failed(_ROUTE), _ROUTE_LEGEND, has_exemplars=True),
        ),
        lines(
            About(
                "Error budget",
                "none",
                "How many times faster than allowed the budget of each objective burns, at its worst route. A page "
                "follows at 14.4 over the longer of two windows, if the shorter one confirms it.",
                TO_FAILED_TRACES,
            ),
            Query(f"max by (slo, window) ({recorded('slo:burn_rate')})", "{{slo}} over {{window}}"),
            limit=14.4,
        ).span(24),
    ]


def _model() -> list[Panel]:
    outcomes = total((*VERSION, "outcome"), rate(series(instruments.PREDICTIONS)))
    return [
        lines(
            About(
                "Predictions by outcome",
                "rowsps",
                "What the model predicts (y_pred), in rows per second.",
                TO_PREDICTIONS,
            ),
            Query(outcomes, "{{outcome}}  " + _MODEL_LEGEND),
            is_stacked=True,
        ),
        lines(
            About(
                "Requests without a prediction",
                "reqps",
                "By reason: rejected is the client's mistake, failed is ours, cancelled is a client that left.",
                TO_FEATURES,
            ),
            Query(
                total((*VERSION, "reason"), rate(series(instruments.PREDICTION_ERRORS))), "{{reason}}  " + _MODEL_LEGEND
            ),
        ),
        lines(
            About("Time by step", "s", "95th percentile of a batch in each step of the pipeline.", TO_SLOW_TRACES),
            Query(
                quantile(0.95, (*VERSION, "step"), rate(series(instruments.PREDICTION_DURATION, suffix="_bucket"))),
                "{{step}}  " + _MODEL_LEGEND,
            ),
        ),
    ]


def _saturation() -> list[Panel]:
    batches = series(instruments.BATCH_SIZE, suffix="_count")
    rows = series(instruments.BATCH_SIZE, suffix="_sum")
    each = (INSTANCE, "worker", *VERSION)
    legend = _MODEL_LEGEND + "  {{" + INSTANCE + "}} {{worker}}"
    return [
        lines(
            About("Requests running", "short", "Requests that are being answered, by version.", TO_SLOW_TRACES),
            Query(served_total(VERSION, series(instruments.ACTIVE_REQUESTS)), _MODEL_LEGEND),
        ),
        lines(
            About(
                "Rows waiting",
                "short",
                "Rows that wait for the model. Growth that stays is saturation.",
                TO_SLOW_TRACES,
            ),
            Query(total(VERSION, series(instruments.QUEUE_LENGTH)), _MODEL_LEGEND),
        ),
        lines(
            About("Wait for the model", "s", "99th percentile of the time that a request's rows wait.", TO_SLOW_TRACES),
            Query(quantile(0.99, VERSION, rate(series(instruments.QUEUE_DURATION, suffix="_bucket"))), _MODEL_LEGEND),
        ),
        lines(
            About("Rows per batch", "short", "Requests that wait together are predicted together.", TO_TELEMETRY),
            Query(f"{total(VERSION, rate(rows))} / ({total(VERSION, rate(batches))} > 0)", _MODEL_LEGEND),
        ),
        lines(
            About("CPU", "percentunit", "CPU time a second of each worker; 100 % is one core.", TO_TELEMETRY),
            Query(served_total(each, rate(series(instruments.PROCESS_CPU_TIME))), legend),
        ),
        lines(
            About("Memory", "bytes", "Resident memory of each worker.", TO_TELEMETRY),
            Query(served_total(each, series(instruments.PROCESS_MEMORY_USAGE)), legend),
        ),
    ]


def _traces() -> list[Panel]:
    shown = "select(span.http.route, span.http.response.status_code)"
    found = "Click an id to open the trace. The newest half minute is not in Tempo's search yet."
    return [
        lines(
            About(
                "Traces kept",
                "cps",
                "By reason: asked for by the caller, failed, slow, or the exemplar of a latency bucket.",
                TO_TELEMETRY,
            ),
            Query(served_total(("reason",), rate(series(instruments.TRACES_KEPT))), "{{reason}}"),
            is_stacked=True,
        ).height(10),
        traces(
            About(
                "Slowest traces", "ns", f"Kept traces that took longer than the variable sets. {found}", TO_SLOW_TRACES
            ),
            f"{{ {SERVER_SPANS} && duration > $slower_than }} | {shown}",
            200,
        ).span(8),
        traces(
            About("Failed traces", "ns", f"Requests answered with 5xx. {found}", TO_FAILED_TRACES),
            f"{{ {SERVER_SPANS} && status = error }} | {shown}",
            200,
        ).span(8),
    ]
