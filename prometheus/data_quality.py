"""What comes in against what came in at training: missing, imputed, unseen, out of range; and what is refused."""

from prometheus import drift_limits
from prometheus.annotation_queries import FEATURE_LABELS, PERCENT, asked, of_feature
from prometheus.rule import Alert, Group, Record
from prometheus.selectors import FEATURE, VERSION, counts, series
from prometheus.windows import Windows, text
from sightline_telemetry import instruments

REJECTED_SHARE = 0.05
MIN_REJECTED = 20
"""A client that is being written sends bad requests now and then; one in twenty is a client that was changed."""

_MODEL = "{{ $labels.model_name }} {{ $labels.model_version }}"
_FEATURE = f"{{{{ $labels.feature }}}} of {_MODEL}"
_OF_MODEL = "?var-model={{ $labels.model_name }}&var-version={{ $labels.model_version }}"
_DASHBOARD = f"/d/sightline-features{_OF_MODEL}&var-feature={{{{ $labels.feature }}}}"
_TO_VERSION = f"on ({VERSION}) group_left ()"


def data_quality(windows: Windows) -> list[Group]:
    """Counts and shares, what is unusual about them, and the tickets."""
    records = [*_counts(windows), *_missing(), *_unusual(), _changed()]
    return [Group("data-quality", windows.step_s, [*records, *_alerts(windows), _rejected(windows)])]


def _counts(windows: Windows) -> list[Record]:
    step, window = text(windows.step_s), text(windows.window_s)
    counted = (
        ("rows", VERSION, instruments.PREDICTIONS),
        ("missing", FEATURE, instruments.FEATURE_MISSING),
        ("imputed", FEATURE, instruments.FEATURE_IMPUTED),
        ("out_of_range", f"{FEATURE}, side", instruments.FEATURE_OUT_OF_RANGE),
    )
    increases = [
        Record(f"input:{what}_increase", f"sum by ({labels}) (increase({series(instrument)}[{step}]))")
        for what, labels, instrument in counted
    ]
    totals = [Record(f"input:{what}", f"sum_over_time(input:{what}_increase[{window}])") for what, _, _ in counted]
    outcomes = f"max by ({VERSION}, outcome) ({series(instruments.REFERENCE_PREDICTIONS)})"
    reference = [
        Record("input:reference_rows", f"sum by ({VERSION}) ({outcomes}) > 0"),
        Record("input:reference_missing", f"max by ({FEATURE}) ({series(instruments.REFERENCE_FEATURE_MISSING)})"),
    ]
    return [*increases, *totals, *reference]


def _missing() -> list[Record]:
    rows = f"(input:rows >= {drift_limits.MIN_RATE_ROWS})"
    pooled = f"clamp_max((input:missing + input:reference_missing) / {_TO_VERSION} ({rows} + input:reference_rows), 1)"
    return [
        Record("input:missing_share", f"input:missing / {_TO_VERSION} {rows}"),
        Record("input:imputed_share", f"input:imputed / {_TO_VERSION} {rows}"),
        Record("input:reference_missing_share", f"input:reference_missing / {_TO_VERSION} input:reference_rows"),
        Record("input:missing_pool", pooled),
        Record(
            "input:missing_limit",
            f"""
            clamp_min({drift_limits.Z_MISSING:g} * sqrt(
              input:missing_pool * (1 - input:missing_pool)
              * {_TO_VERSION} (1 / input:rows + 1 / input:reference_rows)
            ), {drift_limits.MISSING_EFFECT:g})
            """,
            why="What chance exceeds once in a thousand windows, and three rows in a hundred at least.",
        ),
    ]


def _unusual() -> list[Record]:
    unseen = f'max by ({FEATURE}) (drift:category_total{{category="{instruments.UNSEEN}"}})'
    singletons = f"max by ({FEATURE}) ({series(instruments.REFERENCE_FEATURE_SINGLETONS)})"
    outside = "input:out_of_range"
    return [
        Record(
            "input:unseen_expected",
            f"({singletons} + 1) * {_TO_VERSION} (input:rows / input:reference_rows)",
            why="Good and Turing: training that holds categories seen once has not seen all there are.",
        ),
        Record(
            "input:unusual",
            _more_than(unseen, "input:unseen_expected", drift_limits.UNSEEN_EFFECT),
            {"kind": "unseen"},
            "A share where the count is more than chance shows once in a thousand windows (deviance of a Poisson "
            "count), and enough to matter.",
        ),
        Record(
            "input:unusual",
            _more_than(
                outside,
                f"(0 * {outside} + {_TO_VERSION} (input:rows / input:reference_rows))",
                drift_limits.OUT_OF_RANGE_EFFECT,
            ),
            {"kind": "out_of_range"},
            "As many rows lie beyond the largest of m training rows as there are windows of m rows.",
        ),
    ]


def _more_than(count: str, expected: str, effect: float) -> str:
    return f"""
    (({count} >= {drift_limits.MIN_UNUSUAL}) - {expected}) / {_TO_VERSION} (input:rows > 0) > {effect:g}
    and {count} * ln({count} / {expected}) - ({count} - {expected}) > {drift_limits.DEVIANCE_LIMIT:g}
    """


def _changed() -> Record:
    findings = ("drift:feature_ratio > 1", *(expr for expr in (_MISSING, _IMPUTED)), "input:unusual")
    return Record(
        "input:changed",
        "\nor ".join(f"count by ({VERSION}) ({finding})" for finding in findings),
        why="Something about the inputs has an alert: its predictions will change too.",
    )


_MISSING = "input:missing_share - input:reference_missing_share > input:missing_limit"
_USUAL = "((input:missing_share > input:reference_missing_share) or input:reference_missing_share)"
_IMPUTED = f"input:imputed_share - {_USUAL} > input:missing_limit"


def _alerts(windows: Windows) -> list[Alert]:
    limit = asked(f"input:missing_limit{of_feature()}", FEATURE_LABELS, PERCENT)
    hold = windows.hold_s
    points = "{{ $value | humanizePercentage }} of the rows"
    missing = asked(f"input:reference_missing_share{of_feature()}", FEATURE_LABELS, PERCENT)
    return [
        Alert(
            "FeatureMissing",
            _MISSING,
            "ticket",
            f"{_FEATURE} is missing more often than in training",
            f"{points} more than in training, where it was {missing}",
            f"{limit} of the rows more",
            _DASHBOARD,
            hold,
        ),
        Alert(
            "FeatureImputed",
            _IMPUTED,
            "ticket",
            f"{_FEATURE} is imputed more often than it is missing",
            f"{points} beyond those that miss it",
            f"{limit} of the rows",
            _DASHBOARD,
            hold,
            "What is missing has an alert of its own; this is of values that are there and that an imputer takes for "
            "missing.",
        ),
        Alert(
            "FeatureUnseen",
            'input:unusual{kind="unseen"}',
            "ticket",
            f"{_FEATURE} has categories that training did not show",
            points,
            f"{drift_limits.UNSEEN_EFFECT:.1%} of the rows beyond the "
            + asked(f"input:unseen_expected{of_feature()}", FEATURE_LABELS, '{{ printf "%.1f" .Value }}')
            + " rows that chance explains",
            _DASHBOARD,
            hold,
        ),
        Alert(
            "FeatureOutOfRange",
            f'input:unusual{{kind="out_of_range"}}\nunless on ({FEATURE}) drift:feature_ratio > 1',
            "ticket",
            f"{_FEATURE} lies beyond what training has seen ({{{{ $labels.side }}}})",
            points,
            f"{drift_limits.OUT_OF_RANGE_EFFECT:.0%} of the rows",
            _DASHBOARD,
            hold,
            "Where the whole distribution moved, FeatureDrift says so.",
        ),
    ]


def _rejected(windows: Windows) -> Alert:
    window = text(windows.quarter_hour_s)
    refused = series(instruments.PREDICTION_ERRORS, 'reason="rejected"')
    rejected = f"sum by ({VERSION}) (increase({refused}[{window}]))"
    answered = f"sum by ({VERSION}) (increase({counts(instruments.QUEUE_DURATION)}[{window}]))"
    return Alert(
        "RequestsRejected",
        f"({rejected} >= {MIN_REJECTED})\n/ ({rejected} + {answered}) > {REJECTED_SHARE:g}",
        "ticket",
        f"Requests to {_MODEL} are refused: they do not fit its schema",
        "{{ $value | humanizePercentage }} of the requests",
        f"{REJECTED_SHARE:.0%} of the requests",
        f"/d/sightline-overview{_OF_MODEL}",
        windows.quarter_hour_s,
    )
