"""How good the model is by the labels that came back: over a window, and over seven of them.

The totals of a ledger never fall, not even when processes restart, and every replica shows the same ones. So the
largest is the latest, and the smallest of a window is its first: what came in between is exact, without the
extrapolation of `increase`, and a ledger that is older than Prometheus does not count as new. The smallest is
recorded for each step, so that a long window reads few samples and misses none.
"""

from collections.abc import Sequence

from prometheus.rule import Group, Record
from prometheus.selectors import VERSION, counts, series, sums
from prometheus.windows import Windows, text
from sightline_telemetry import instruments

_BY_WINDOW = f"{VERSION}, window"
_BY_OUTCOME = f"{_BY_WINDOW}, outcome"


def quality(windows: Windows) -> list[Group]:
    """Totals of the ledgers, and what follows from them in each window."""
    labels = (text(windows.window_s), text(windows.week_s))
    step = text(windows.step_s)
    totals = [*_totals(step), *_predictions(step), *_windows(labels)]
    scores = [*_classification(), *_losses(), *_errors(), *_expected(labels), *_coverage(labels)]
    return [Group("quality", windows.step_s, [*totals, *scores])]


_CORRECTED = (
    ("confusion", "predicted, actual", series(instruments.FEEDBACK), series(instruments.FEEDBACK_WITHDRAWN)),
    ("loss_sum", "kind", sums(instruments.FEEDBACK_LOSS), sums(instruments.FEEDBACK_WITHDRAWN_LOSS)),
    ("loss_count", "kind", counts(instruments.FEEDBACK_LOSS), counts(instruments.FEEDBACK_WITHDRAWN_LOSS)),
    ("error_sum", "side", sums(instruments.FEEDBACK_ERROR), sums(instruments.FEEDBACK_WITHDRAWN_ERROR)),
    ("error_count", "side", counts(instruments.FEEDBACK_ERROR), counts(instruments.FEEDBACK_WITHDRAWN_ERROR)),
)
"""Name, labels, what was counted, and what of it was withdrawn since."""


def _totals(step: str) -> list[Record]:
    records = []
    for name, labels, counted, withdrawn in _CORRECTED:
        records += _total(f"{name}_counted", f"{VERSION}, ledger, {labels}", counted, step)
        records += _total(f"{name}_withdrawn", f"{VERSION}, ledger, {labels}", withdrawn, step)
    return [*records, *_total("labels_counted", f"{VERSION}, ledger", counts(instruments.FEEDBACK_DELAY), step)]


def _total(name: str, labels: str, metric: str, step: str) -> list[Record]:
    return [
        Record(f"quality:{name}", f"max by ({labels}) ({metric})"),
        Record(f"quality:{name}_first", f"min by ({labels}) (min_over_time({metric}[{step}]))"),
    ]


def _windows(windows: Sequence[str]) -> list[Record]:
    """What each window added; a label that was corrected in it is taken back with what it had added before."""
    records = []
    for window in windows:
        for name, labels, *_ in _CORRECTED:
            counted, withdrawn = (_added(f"{name}_{kind}", window) for kind in ("counted", "withdrawn"))
            expr = f"sum by ({VERSION}, {labels}) ({counted} - {withdrawn})"
            records.append(Record(f"quality:{name}", expr, {"window": window}))
        expr = f"sum by ({VERSION}) ({_added('labels_counted', window)})"
        records.append(Record("quality:labels", expr, {"window": window}))
    return records


def _added(total: str, window: str) -> str:
    return f"(quality:{total} - min_over_time(quality:{total}_first[{window}]))"


def _classification() -> list[Record]:
    diagonal = (
        f'label_replace(sum by ({_BY_WINDOW}, predicted) (quality:confusion), "actual", "$1", "predicted", "(.*)")'
    )
    return [
        Record(
            "quality:hits",
            f"""
            sum by ({_BY_OUTCOME}) (label_replace(
              quality:confusion and on ({_BY_WINDOW}, predicted, actual) {diagonal},
              "outcome", "$1", "actual", "(.*)"
            ))
            """,
            why="PromQL cannot ask whether two labels are equal: the right side has only pairs that are.",
        ),
        Record("quality:said", _by_outcome("predicted")),
        Record("quality:was", _by_outcome("actual")),
        Record(
            "quality:accuracy",
            f"sum by ({_BY_WINDOW}) (quality:hits) / (sum by ({_BY_WINDOW}) (quality:was) > 0)",
            why="What cannot be said, for want of labels, has no sample; here and below.",
        ),
        Record("quality:precision", "quality:hits / (quality:said > 0)"),
        Record("quality:recall", "quality:hits / (quality:was > 0)"),
        Record("quality:f1", "2 * quality:hits / ((quality:said + quality:was) > 0)"),
        Record("quality:f1_macro", f"avg by ({_BY_WINDOW}) (quality:f1)"),
    ]


def _by_outcome(label: str) -> str:
    return f'sum by ({_BY_OUTCOME}) (label_replace(quality:confusion, "outcome", "$1", "{label}", "(.*)"))'


def _losses() -> list[Record]:
    mean = 'quality:loss_sum{{kind="{0}"}} / (quality:loss_count{{kind="{0}"}} > 0)'
    return [
        Record("quality:log_loss", f"sum by ({_BY_WINDOW}) ({mean.format('log')})"),
        Record(
            "quality:brier_score",
            f"sum by ({_BY_WINDOW}) ({mean.format('brier')})",
            why="As scikit-learn has it: halved with two classes, so between 0 and 1; otherwise between 0 and 2.",
        ),
    ]


def _errors() -> list[Record]:
    n = f"(sum by ({_BY_WINDOW}) (quality:error_count) > 0)"
    over, under = (f'sum by ({_BY_WINDOW}) (quality:error_sum{{side="{side}"}})' for side in ("over", "under"))
    return [
        Record("quality:mae", f"sum by ({_BY_WINDOW}) (quality:error_sum) / {n}"),
        Record("quality:bias", f"({over} - {under}) / {n}", why="Above zero the model predicts too high values."),
    ]


def _predictions(step: str) -> list[Record]:
    metrics = {
        "rows": series(instruments.PREDICTIONS),
        "confidence_sum": sums(instruments.PREDICTION_CONFIDENCE),
        "confidence_count": counts(instruments.PREDICTION_CONFIDENCE),
    }
    return [
        Record(f"quality:{name}_increase", f"sum by ({VERSION}) (increase({metric}[{step}]))")
        for name, metric in metrics.items()
    ]


def _expected(windows: Sequence[str]) -> list[Record]:
    expected = [
        Record(
            "quality:expected_accuracy",
            f"sum_over_time(quality:confidence_sum_increase[{window}])"
            f" / (sum_over_time(quality:confidence_count_increase[{window}]) > 0)",
            {"window": window},
            why="Of all predictions, labelled or not: what a calibrated model expects of itself." if not i else "",
        )
        for i, window in enumerate(windows)
    ]
    gap = Record(
        "quality:accuracy_gap",
        "quality:accuracy - quality:expected_accuracy",
        why="Below zero the model is worse than it believes, or the labels that come are not those of all rows.",
    )
    return [*expected, gap]


def _coverage(windows: Sequence[str]) -> list[Record]:
    return [
        Record(
            "quality:label_coverage",
            f'quality:labels{{window="{window}"}} / ignoring (window) group_left () '
            f"(sum_over_time(quality:rows_increase[{window}]) > 0)",
            {"window": window},
            why="Labels that came, by predictions that were made, in the same window: labels are late, so it swings."
            if not i
            else "",
        )
        for i, window in enumerate(windows)
    ]
