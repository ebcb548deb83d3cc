"""Quality by labels: worse than the model believes, worse than it was, and labels that stop coming."""

from prometheus import drift_limits
from prometheus.annotation_queries import PERCENT, VERSION_LABELS, asked, of_version
from prometheus.rule import Alert, Group, Record
from prometheus.selectors import VERSION
from prometheus.windows import Windows, text

MIN_LABELS = 100
"""Nothing is said of the quality of fewer labelled predictions."""

ACCURACY_EFFECT = 0.05
"""Five more wrong predictions in a hundred than the model expects of itself are worth a page."""

ERROR_GROWTH = 1.25
COVERAGE_SHARE = 0.5
MIN_EXPECTED_LABELS = 50
"""Half of the labels that should have come are missing, and so many should have come that chance is no reason."""

_MODEL = "{{ $labels.model_name }} {{ $labels.model_version }}"
_DASHBOARD = "/d/sightline-predictions?var-model={{ $labels.model_name }}&var-version={{ $labels.model_version }}"


def quality_alerts(windows: Windows) -> Group:
    """Pages for a classifier and a regressor that got worse; a ticket for labels."""
    rules: list[Record | Alert] = [_accuracy_limit(windows), _accuracy(windows), _error(windows), _coverage(windows)]
    return Group("quality-alerts", windows.step_s, rules)


def _accuracy_limit(windows: Windows) -> Record:
    window = text(windows.window_s)
    expected = f'quality:expected_accuracy{{window="{window}"}}'
    labels = f'sum without (outcome) (quality:was{{window="{window}"}})'
    chance = f"{drift_limits.Z_MISSING:g} * sqrt({expected} * (1 - {expected}) / ({labels} >= {MIN_LABELS}))"
    return Record(
        "quality:accuracy_limit",
        f"clamp_min({chance}, {ACCURACY_EFFECT:g})",
        why="A gap that matters, and more than chance shows once in a thousand windows of so many labels.",
    )


def _accuracy(windows: Windows) -> Alert:
    window = text(windows.window_s)
    of_window = of_version(f"window='{window}'")
    points, expected, limit = (
        asked(f"quality:{what}{of_window}", VERSION_LABELS, PERCENT)
        for what in ("accuracy", "expected_accuracy", "accuracy_limit")
    )
    return Alert(
        "AccuracyBelowExpected",
        f'-quality:accuracy_gap{{window="{window}"}} > quality:accuracy_limit',
        "page",
        f"{_MODEL} is right less often than it believes",
        f"{points} of the labelled predictions are right, {{{{ $value | humanizePercentage }}}} fewer than expected",
        f"{limit} fewer than the {expected} that it expects of itself",
        _DASHBOARD,
        windows.hold_s,
    )


def _error(windows: Windows) -> Alert:
    window, week = text(windows.window_s), text(windows.week_s)
    labels = f'sum without (side) (quality:error_count{{window="{window}"}})'
    return Alert(
        "AbsoluteErrorGrowing",
        f'quality:mae{{window="{window}"}} / ignoring (window) (quality:mae{{window="{week}"}} > 0) > {ERROR_GROWTH:g}'
        f"\nand ignoring (window) {labels} >= {MIN_LABELS}",
        "page",
        f"{_MODEL} errs more than it did",
        "the mean absolute error is {{ $value | humanize }} times that of " + week,
        f"{ERROR_GROWTH:g} times",
        _DASHBOARD,
        windows.hold_s,
        "A regressor says nothing of what it expects of itself: it is compared with its own last seven windows.",
    )


def _coverage(windows: Windows) -> Alert:
    window, week = text(windows.window_s), text(windows.week_s)
    usual = f'quality:label_coverage{{window="{week}"}}'
    rows = f"sum_over_time(quality:rows_increase[{window}])"
    of_week = of_version(f"window='{week}'")
    return Alert(
        "LabelCoverageLow",
        f'quality:label_coverage{{window="{window}"}} < ignoring (window) {COVERAGE_SHARE:g} * {usual}\n'
        f"and on ({VERSION}) {usual} * on ({VERSION}) group_left () {rows} >= {MIN_EXPECTED_LABELS}",
        "ticket",
        f"Fewer labels come back for {_MODEL} than usual: its quality is known less and less",
        "{{ $value | humanizePercentage }} of the predictions got a label",
        f"{COVERAGE_SHARE:.0%} of the usual {asked(f'quality:label_coverage{of_week}', VERSION_LABELS, PERCENT)}",
        _DASHBOARD,
        windows.hold_s,
        "Where labels never came there is nothing to miss.",
    )
