"""Tickets for drift: of features, of predictions, drift that never was otherwise, and windows too small to judge."""

from prometheus.annotation_queries import FEATURE_LABELS, VERSION_LABELS, asked, of_feature, of_version
from prometheus.rule import Alert, Group
from prometheus.selectors import VERSION, series
from prometheus.windows import Windows, text
from sightline_telemetry import instruments
from sightline_telemetry.model import drift

BLIND_SHARE = 0.5
"""Of the distributions of a model: a feature that is nearly always missing is no reason to widen the window."""

_MODEL = "{{ $labels.model_name }} {{ $labels.model_version }}"
_OF_MODEL = "?var-model={{ $labels.model_name }}&var-version={{ $labels.model_version }}"
_FEATURES = f"/d/sightline-features{_OF_MODEL}&var-feature={{{{ $labels.feature }}}}"
_PREDICTIONS = f"/d/sightline-predictions{_OF_MODEL}"
_SHOWN = '{{ .Labels.statistic }} {{ printf "%.3f" .Value }}'


def drift_alerts(windows: Windows) -> Group:
    """Evaluated as often as drift is judged."""
    return Group(
        "drift-alerts",
        windows.step_s,
        [_feature_drift(windows), _skew(windows), _prediction_drift(windows), _blind(windows)],
    )


def _feature_drift(windows: Windows) -> Alert:
    floor = series(instruments.REFERENCE_DRIFT_FLOOR).replace("{", "") + of_feature(f"window='{windows.window_s}s'")
    no_floor = asked(
        f"absent({floor})", FEATURE_LABELS, "; no floor learnt in training: significant if rows are independent"
    )
    return Alert(
        "FeatureDrift",
        "drift:feature_ratio > 1",
        "ticket",
        f"{{{{ $labels.feature }}}} of {_MODEL} is distributed otherwise than in training",
        _strongest("statistic", of_feature(), FEATURE_LABELS),
        _strongest("limit", of_feature(), FEATURE_LABELS) + no_floor,
        _FEATURES,
        windows.hold_s,
    )


def _skew(windows: Windows) -> Alert:
    return Alert(
        "TrainingServingSkew",
        f"min_over_time(drift:feature_ratio[{text(windows.week_s)}]) > 1\n"
        f"and drift:feature_ratio offset {text(3 * windows.window_s)}",
        "ticket",
        f"{{{{ $labels.feature }}}} of {_MODEL} has not once looked as in training for three windows or more",
        "at its best {{ $value | humanize }} times its limit",
        f"once below its limit in {text(windows.week_s)}, or since the version is served",
        _FEATURES,
        why="Drift comes and goes with the world. What never was as in training is computed otherwise than in "
        "training, or the training data are no longer what is served.",
    )


def _prediction_drift(windows: Windows) -> Alert:
    return Alert(
        "PredictionDrift",
        f"drift:prediction_ratio > 1\nunless on ({VERSION}) input:changed",
        "ticket",
        f"{_MODEL} predicts otherwise than for its training data, and no single input says why",
        _strongest("statistic", of_version("feature=''"), VERSION_LABELS),
        _strongest("limit", of_version("feature=''"), VERSION_LABELS) + "; significant if rows are independent",
        _PREDICTIONS,
        windows.hold_s,
        "Predictions follow the inputs: where one of these has an alert, it is the one to read.",
    )


def _blind(windows: Windows) -> Alert:
    return Alert(
        "DriftBlind",
        f"count by ({VERSION}) (drift:blind and drift:rows > 0)\n"
        f"> {BLIND_SHARE:g} * count by ({VERSION}) (drift:reference_rows)",
        "ticket",
        f"Nothing can be said of drift of {_MODEL}: it has too little traffic for a window of {text(windows.window_s)}",
        "{{ $value }} distributions with too few rows",
        f"{BLIND_SHARE:.0%} of "
        + asked(f"count(drift:reference_rows{of_version()})", VERSION_LABELS)
        + f"; each needs {drift.ROWS_PER_BIN} rows per bin",
        f"/d/sightline-features{_OF_MODEL}",
        windows.fraction(0.8),
        "No traffic at all is no matter of drift. Longer than a window, since one that fills or empties is small too.",
    )


def _strongest(what: str, selector: str, labels: tuple[str, ...]) -> str:
    """The statistic that exceeds its limit most, or that limit."""
    return asked(f"drift:{what}{selector} and topk(1, drift:ratio{selector})", labels, _SHOWN)
