"""Labels that come back: what the alerts on quality must fire on, what lies just below, and no labels."""

from tests.prometheus.promtool import SAMPLE_S, Case, Series, changing, constant, growing, metric

SAMPLES = 800 // SAMPLE_S
CHANGED_AT = 30
"""The sample after which the last window of four minutes lies, ten minutes after the first."""


def _series(model: str, name: str, rate: float, **labels: str) -> Series:
    of = {"job": model, "instance": "a", "model_name": model, "model_version": "1", **labels}
    return metric(name, **of), growing(rate, SAMPLES)


def _predictions(model: str, rows: float) -> list[Series]:
    """Rows from sample to sample, of which the model believes 85 in 100 to be right."""
    return [
        _series(model, "ml_predictions_total", rows, outcome="yes"),
        _series(model, "ml_prediction_confidence_sum", 0.85 * rows),
        _series(model, "ml_prediction_confidence_count", rows),
    ]


def _labelled(model: str, right: float, wrong: float) -> list[Series]:
    ledger = {"ledger": "l"}
    pairs = (("yes", "yes", right), ("yes", "no", wrong))
    counted = [
        _series(model, "ml_feedback_total", rate, **ledger, predicted=predicted, actual=actual)
        for predicted, actual, rate in pairs
    ]
    withdrawn = [
        _series(model, "ml_feedback_withdrawn_total", 0, **ledger, predicted=predicted, actual=actual)
        for predicted, actual, _ in pairs
    ]
    delay = _series(model, "ml_feedback_delay_seconds_count", right + wrong, **ledger)
    return [*_predictions(model, 20), *counted, *withdrawn, delay]


def _errors(model: str, error: float, labels: float = 10) -> list[Series]:
    sides = {"over": labels / 2, "under": labels / 2}
    series = [_series(model, "ml_predictions_total", 20)]
    for prefix, share in (("ml_feedback_error", 1), ("ml_feedback_withdrawn_error", 0)):
        for side, rate in sides.items():
            labels_of = {"ledger": "l", "side": side}
            series.append(_series(model, f"{prefix}_sum", share * error * rate, **labels_of))
            series.append(_series(model, f"{prefix}_count", share * rate, **labels_of))
    return series


def _changed(before: list[Series], after: list[Series]) -> list[Series]:
    return changing(before, after, CHANGED_AT)


_ACCURACY, _ERROR, _COVERAGE = ("AccuracyBelowExpected",), ("AbsoluteErrorGrowing",), ("LabelCoverageLow",)

LABELS = (
    Case("worse", _labelled("worse", 7.5, 2.5), _ACCURACY),
    Case("worse-below", _labelled("worse-below", 8.1, 1.9), about=_ACCURACY),
    Case("worse-by-chance", _labelled("worse-by-chance", 4, 1), about=_ACCURACY),
    Case("worse-of-few-labels", _labelled("worse-of-few-labels", 2, 2), about=_ACCURACY),
    Case("no-labels", _labelled("no-labels", 0, 0), about=(*_ACCURACY, *_COVERAGE)),
    Case("errs-more", _changed(_errors("errs-more", 1), _errors("errs-more", 1.8)), _ERROR),
    Case("errs-more-below", _changed(_errors("errs-more-below", 1), _errors("errs-more-below", 1.4)), about=_ERROR),
    Case("errs-no-labels", _errors("errs-no-labels", 0, 0), about=_ERROR),
    Case("uncovered", _changed(_labelled("uncovered", 9, 1), _labelled("uncovered", 1.8, 0.2)), _COVERAGE),
    Case(
        "uncovered-below",
        _changed(_labelled("uncovered-below", 9, 1), _labelled("uncovered-below", 4.5, 0.5)),
        about=_COVERAGE,
    ),
    Case("labels-idle", [(name, constant(0, SAMPLES)) for name, _ in _labelled("labels-idle", 1, 1)], about=_ACCURACY),
)
