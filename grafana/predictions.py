"""*Predictions and labels*: what the model predicts, compared with training and with the labels."""

from grafana_foundation_sdk.models import dashboard as models

from grafana.bins import BOUNDS, LABEL, in_tenths, middles
from grafana.labels import WINDOW as LABEL_WINDOW
from grafana.labels import came_true, correct, labelled, scored
from grafana.links import PREDICTIONS_UID, TO_FEATURES, TO_OVERVIEW, TO_TELEMETRY
from grafana.panels import About, Panel, Query, bars, heat, lines, matrix
from grafana.promql import VERSION, rate, series, total
from grafana.screens import Row, Screen, choice, variable
from sightline_telemetry import instruments

_LEGEND = "{{model_name}} {{model_version}}"
_OUTCOME = (*VERSION, "outcome")
_CHOSEN = 'outcome=~"$outcome"'
_LABELS = "Labels of the time that the variable sets."


def predictions() -> models.Dashboard:
    """Returns the screen of those who own the model."""
    return Screen(
        PREDICTIONS_UID,
        "Predictions and labels",
        "What the model predicts, compared with its predictions in training and with the labels that came back.",
        (
            Row("Predictions", _predictions()),
            Row("Quality", _quality()),
            Row("Calibration", _calibration()),
            Row("Labels", _labels()),
        ),
        (
            variable(
                "outcome",
                "Outcome",
                f"label_values({series(instruments.PREDICTION_SCORE, suffix='_count')}, outcome)",
                "Whose scores are shown; with two outcomes there is the positive one only.",
            ),
            choice("labels_of", "Labels of the last", "15m,1h,6h,1d,7d,30d", "1h", "What quality is judged by."),
        ),
    ).build()


def _predictions() -> list[Panel]:
    predicted = total(_OUTCOME, rate(series(instruments.PREDICTIONS)))
    trained = f"max by ({', '.join(_OUTCOME)}) ({series(instruments.REFERENCE_PREDICTIONS)})"
    share = "{share} / on (model_name, model_version) group_left () (sum by (model_name, model_version) ({share}) > 0)"
    mean = f"{total(VERSION, rate(series(instruments.PREDICTION_CONFIDENCE, suffix='_sum')))} / " + (
        f"({total(VERSION, rate(series(instruments.PREDICTION_CONFIDENCE, suffix='_count')))} > 0)"
    )
    return [
        lines(
            About(
                "Outcomes against training",
                "percentunit",
                "Share of each outcome in what the model predicts now, and in what it predicted of its training data.",
                TO_FEATURES,
            ),
            Query(share.format(share=predicted), "{{outcome}}  " + _LEGEND),
            Query(share.format(share=trained), "{{outcome}} in training  " + _LEGEND),
        ),
        heat(
            About("Scores over time", "none", "P(outcome) of each row, or the value of a regression.", TO_FEATURES),
            Query(total(("le",), rate(series(instruments.PREDICTION_SCORE, suffix="_bucket"))), "{{le}}"),
        )
        .span(8)
        .height(8),
        lines(
            About(
                "Confidence",
                "percentunit",
                "Mean probability of the predicted class: the accuracy that a calibrated model expects of itself.",
                TO_OVERVIEW,
            ),
            Query(mean, _LEGEND),
        ).max(1),
        bars(
            About(
                "Scores of $outcome against training",
                "percentunit",
                "Share of rows in each tenth of P(outcome), named by its end: this time range's beside training's.",
                TO_FEATURES,
            ),
            LABEL,
            Query(_scores_in_tenths(_serving()), "serving"),
            Query(_scores_in_tenths(_training()), "training"),
        )
        .span(24)
        .repeat("outcome")
        .max_per_row(2),
    ]


def _scores_in_tenths(cumulative: str) -> str:
    tenths = in_tenths(cumulative)
    return f"{tenths} / on () group_left () (sum ({tenths}) > 0)"


def _serving() -> str:
    selector = series(instruments.PREDICTION_SCORE, _CHOSEN, BOUNDS, suffix="_bucket")
    return f"sum by (le) (increase({selector}[$__range]))"


def _training() -> str:
    selector = series(instruments.REFERENCE_PREDICTION_SCORE, _CHOSEN, BOUNDS, suffix="_bucket")
    return f"sum by (le) (max by ({', '.join(_OUTCOME)}, le) ({selector}))"


def _quality() -> list[Panel]:
    confidence = instruments.PREDICTION_CONFIDENCE
    expected = " / ".join(
        total(VERSION, f"increase({series(confidence, suffix=suffix)}[{LABEL_WINDOW}])")
        for suffix in ("_sum", "_count")
    )
    every = labelled(instruments.FEEDBACK, ())
    return [
        matrix(
            About(
                "Confusion", "short", f"Labels by what was predicted (rows) and what was true. {_LABELS}", TO_FEATURES
            ),
            "predicted",
            "actual",
            Query(f"sum by (predicted, actual) ({labelled(instruments.FEEDBACK, ('predicted', 'actual'))})", "labels"),
        ),
        lines(
            About(
                "Accuracy, expected and realised",
                "percentunit",
                f"What labels say, and what the model expects. {_LABELS} A gap is a model too sure of itself.",
                TO_FEATURES,
            ),
            Query(f"{correct()} / ({every} > 0)", f"realised  {_LEGEND}"),
            Query(expected, f"expected  {_LEGEND}"),
        ).max(1),
        lines(
            About("Precision and recall", "percentunit", f"By class. {_LABELS}", TO_FEATURES),
            Query(
                f"{correct(('predicted',))} / ({labelled(instruments.FEEDBACK, ('predicted',))} > 0)",
                "precision of {{predicted}}  " + _LEGEND,
            ),
            Query(
                f"{correct(('actual',))} / ({labelled(instruments.FEEDBACK, ('actual',))} > 0)",
                "recall of {{actual}}  " + _LEGEND,
            ),
        ).max(1),
        lines(
            About(
                "Loss",
                "none",
                f"Exact mean of log loss and Brier score, or the mean absolute error of a regression. {_LABELS}",
                TO_FEATURES,
            ),
            Query(f"{_mean_loss()} or {_mean_error()}", "{{kind}}  " + _LEGEND),
        ).span(24),
    ]


def _mean_loss() -> str:
    total_loss, count = (labelled(instruments.FEEDBACK_LOSS, ("kind",), suffix=suffix) for suffix in ("_sum", "_count"))
    return f"{total_loss} / ({count} > 0)"


def _mean_error() -> str:
    total_error, count = (labelled(instruments.FEEDBACK_ERROR, (), suffix=suffix) for suffix in ("_sum", "_count"))
    return f'label_replace({total_error} / ({count} > 0), "kind", "absolute error", "", "")'


def _calibration() -> list[Panel]:
    every = scored((), _CHOSEN, suffix="_count")
    predicted = scored((), _CHOSEN, suffix="_sum")
    was = came_true((), _CHOSEN, suffix="_count")
    true_in_tenths = in_tenths(came_true(("le",), _CHOSEN, BOUNDS, suffix="_bucket"))
    all_in_tenths = in_tenths(scored(("le",), _CHOSEN, BOUNDS, suffix="_bucket"))
    return [
        bars(
            About(
                "Calibration",
                "percentunit",
                f"How much of each tenth of P(outcome), named by its end, came true; beside its middle. {_LABELS}",
                TO_FEATURES,
            ),
            LABEL,
            Query(f"{true_in_tenths} / ({all_in_tenths} > 0)", "came true"),
            Query(middles(), "calibrated"),
        ),
        lines(
            About(
                "Calibration over time",
                "percentunit",
                f"Mean P(outcome) of labelled rows, and how often the outcome came true. {_LABELS}",
                TO_FEATURES,
            ),
            Query(f"{was} / ({every} > 0)", "{{outcome}} came true  " + _LEGEND),
            Query(f"{predicted} / ({every} > 0)", "{{outcome}} was expected  " + _LEGEND),
        )
        .span(12)
        .max(1),
    ]


def _labels() -> list[Panel]:
    delays = labelled(instruments.FEEDBACK_DELAY, ("le",), suffix="_bucket")
    came = labelled(instruments.FEEDBACK_DELAY, (), suffix="_count")
    predicted = total(VERSION, f"increase({series(instruments.PREDICTIONS)}[{LABEL_WINDOW}])")
    return [
        lines(
            About(
                "Label delay",
                "s",
                f"From a prediction to its label: median and 95th percentile. {_LABELS}",
                TO_TELEMETRY,
            ),
            Query(f"histogram_quantile(0.5, {delays})", f"50 %  {_LEGEND}"),
            Query(f"histogram_quantile(0.95, {delays})", f"95 %  {_LEGEND}"),
        ),
        lines(
            About(
                "Labels for each prediction",
                "percentunit",
                f"Labels that came by predictions that were made. {_LABELS} Quality speaks of these rows alone.",
                TO_OVERVIEW,
            ),
            Query(f"{came} / ({predicted} > 0)", _LEGEND),
        ),
        lines(
            About("Labels that were not counted", "short", f"By reason. {_LABELS}", TO_TELEMETRY),
            Query(labelled(instruments.FEEDBACK_REJECTED, ("reason",)), "{{reason}}  " + _LEGEND),
        ),
    ]
