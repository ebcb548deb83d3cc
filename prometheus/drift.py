"""Drift in PromQL: the statistics of `sightline_telemetry.model.drift` over the counts of all replicas, with
the limits of `drift_limits`.

Features, scores and predictions share their rules: a distribution is a feature's (`feature` is set), a score's
(`outcome` is set), or that of a regression's values (neither).
"""

from prometheus import drift_limits
from prometheus.rule import Group, Record
from prometheus.selectors import FEATURE, VERSION, buckets, series
from prometheus.windows import Windows, text
from sightline_telemetry import instruments
from sightline_telemetry.model import drift
from sightline_telemetry.model.profile import N_BINS, SCORE_BOUNDS

KEY = f"{FEATURE}, outcome"
CATEGORY = f"{FEATURE}, category"
RARE = "__rare__"

MAX_BINS = max(N_BINS, len(SCORE_BOUNDS) + 1)
"""The finest distribution there is; a finer one would lose its upper bins."""

_EFFECT = drift_limits.STRICT


def drift_records(windows: Windows) -> list[Record]:
    """All that is recorded of drift, in the order in which it is evaluated."""
    return [
        *_reference(),
        *_window(windows),
        *_numeric(windows),
        *_categories(windows),
        *_category_limits(windows),
        *_verdicts(),
    ]


def drift_group(windows: Windows) -> Group:
    """One group, because each rule reads what the rule before it has recorded at the same moment."""
    return Group("drift", windows.step_s, drift_records(windows))


def _reference() -> list[Record]:
    """The reference, and the order of its bins, which PromQL cannot read out of `le`."""
    live = (instruments.REFERENCE_FEATURE_VALUE, instruments.REFERENCE_PREDICTION_SCORE)
    levels = [
        Record(
            "drift:level",
            f"min by ({KEY}) (drift:reference > 0)"
            if number == 1
            else f'min by ({KEY}) (drift:reference > on ({KEY}) group_left () drift:level{{bin="{number - 1}"}})',
            {"bin": str(number)},
            "PromQL cannot take one bucket from the next: nothing in it orders the values of `le`. But the reference "
            "is cumulative, so its own counts do: level i is the i-th smallest. Bins that the reference left empty "
            "share a level with the one below, and are joined with it."
            if number == 1
            else "",
        )
        for number in range(1, MAX_BINS + 1)
    ]
    numbered = "\nor ".join(
        f'0 * (drift:reference == on ({KEY}) group_left () drift:level{{bin="{number}"}}) + {number}'
        for number in range(1, MAX_BINS + 1)
    )
    return [
        Record(
            "drift:reference",
            "\nor ".join(f"max by ({KEY}, le) ({buckets(instrument)})" for instrument in live),
            why="Every replica exports the same reference: a sum would take one training row for many.",
        ),
        Record("drift:reference_rows", f'max by ({KEY}) (drift:reference{{le="+Inf"}}) > 0'),
        *levels,
        Record("drift:bin_number", numbered, why="The level of a bucket is the number of its bin."),
        Record(
            "drift:edge",
            f'count_values by ({KEY}, le) ("bin", drift:bin_number)',
            {"side": "upper"},
            "A value becomes a label: which `le` is the upper edge of bin i, and which its lower one.",
        ),
        Record("drift:edge", f'count_values by ({KEY}, le) ("bin", drift:bin_number + 1)', {"side": "lower"}),
        Record("drift:bins", f"max by ({KEY}) (drift:bin_number)"),
        Record("drift:reference_bin", _by_bin("drift:reference")),
    ]


def _window(windows: Windows) -> list[Record]:
    step, window = text(windows.step_s), text(windows.window_s)
    live = (instruments.FEATURE_VALUE, instruments.PREDICTION_SCORE)
    return [
        Record(
            "drift:increase",
            "\nor ".join(f"sum by ({KEY}, le) (increase({buckets(instrument)}[{step}]))" for instrument in live),
            why="Of each process by itself, so that a restart is seen; then the sum. Recorded once per step: a window "
            "of raw samples would be a thousand times as many.",
        ),
        Record("drift:cumulative", f"sum_over_time(drift:increase[{window}])"),
        Record("drift:rows", f'max by ({KEY}) (drift:cumulative{{le="+Inf"}})'),
        Record(
            "drift:bin",
            _by_bin("drift:cumulative"),
            why="A restart that was seen in some buckets only could leave a bin below 0.",
        ),
        Record("drift:noise", "1 / (drift:rows > 0) + 1 / drift:reference_rows"),
        Record(
            "drift:judged",
            f"drift:rows >= {drift.ROWS_PER_BIN} * drift:bins and drift:bins >= 2 and drift:reference_rows",
            why="There is no result below ten rows per bin, nor for a feature with one bin.",
        ),
    ]


def _numeric(windows: Windows) -> list[Record]:
    (few, critical_few), (some, critical_some) = drift_limits.KS_CRITICAL
    critical = (
        f"({critical_few:g} + {critical_some - critical_few:.3f} * (drift:bins > bool {few})"
        f" + {drift_limits.KS_CRITICAL_CONTINUOUS - critical_some:.3f} * (drift:bins > bool {some}))"
    )
    freedom = "(drift:bins - 1)"
    spread = f"2 / (9 * {freedom})"
    return [
        Record(
            "drift:statistic",
            f"""
            max by ({KEY}) (abs(
              drift:cumulative / on ({KEY}) group_left () drift:judged
              - drift:reference / on ({KEY}) group_left () drift:reference_rows
            ))
            """,
            {"statistic": "ks"},
            "The largest gap between the two distributions.",
        ),
        _gate("ks", "chance", f"{critical} * sqrt(drift:noise) and drift:judged"),
        _gate("ks", "effect", f"0 * drift:judged + {_EFFECT.ks:g}"),
        _gate("ks", "floor", f"{_floor('ks', windows)} and drift:judged"),
        Record(
            "drift:share",
            f"(drift:bin + 0.5) / on ({KEY}) group_left () (drift:judged + 0.5 * drift:bins)",
            {"of": "window"},
            "Half a row in every bin: an empty one would make the index infinite, two NaN, and NaN raises no alert.",
        ),
        Record(
            "drift:share",
            f"(drift:reference_bin + 0.5) / on ({KEY}) group_left () (drift:reference_rows + 0.5 * drift:bins)",
            {"of": "reference"},
        ),
        Record(
            "drift:statistic",
            f"""
            sum by ({KEY}) (
              (drift:share{{of="window"}} - ignoring (of) drift:share{{of="reference"}})
              * ignoring (of) ln(drift:share{{of="window"}} / ignoring (of) drift:share{{of="reference"}})
            )
            """,
            {"statistic": "psi"},
        ),
        _gate(
            "psi",
            "chance",
            f"drift:noise * {freedom} * (1 - {spread} + {drift_limits.Z_ALPHA:g} * sqrt({spread})) ^ 3 "
            "and drift:judged",
            "The index of two samples of one distribution is chi-square, scaled; Wilson and Hilferty's quantile.",
        ),
        _gate("psi", "effect", f"drift:noise * {freedom} + {_EFFECT.psi:g} and drift:judged"),
        _gate("psi", "floor", f"{_floor('psi', windows)} and drift:judged"),
    ]


def _categories(windows: Windows) -> list[Record]:
    step, window = text(windows.step_s), text(windows.window_s)
    classes = 'outcome!=""'
    known = f'category!~"{instruments.MISSING}|{instruments.UNSEEN}"'
    reference = f"max by ({CATEGORY}) ({series(instruments.REFERENCE_FEATURE_CATEGORIES, known)})\nor " + _as_category(
        f"max by ({VERSION}, outcome) ({series(instruments.REFERENCE_PREDICTIONS, classes)})"
    )
    return [
        Record(
            "drift:known_category",
            reference,
            why="Predicted classes are categories too, of no feature. Missing and unseen have alerts of their own.",
        ),
        Record(
            "drift:reference_category",
            _with_rare(
                f"(drift:known_category / on ({FEATURE}) group_left () sum by ({FEATURE}) "
                f"(drift:known_category) >= {drift.RARE_SHARE:g})",
                "drift:known_category",
            ),
            why="Categories with less than a hundredth of the reference are compared together.",
        ),
        Record(
            "drift:category_increase",
            f"sum by ({CATEGORY}) (increase({series(instruments.FEATURE_CATEGORIES)}[{step}]))\nor "
            + _as_category(
                f"sum by ({VERSION}, outcome) (increase({series(instruments.PREDICTIONS, classes)}[{step}]))"
            ),
        ),
        Record("drift:category_total", f"sum_over_time(drift:category_increase[{window}])"),
        Record(
            "drift:category",
            _with_rare("drift:reference_category", f"drift:category_total{{{known}}}"),
        ),
        Record(
            "drift:category_rows",
            f"sum by ({FEATURE}) (drift:category) >= {drift.MIN_CATEGORY_ROWS} "
            f"and on ({FEATURE}) count by ({FEATURE}) (drift:reference_category) >= 2",
        ),
    ]


def _category_limits(windows: Windows) -> list[Record]:
    one = f"on ({FEATURE}) group_left ()"
    tail = f"2 * ln(count by ({FEATURE}) (drift:reference_category) / {drift_limits.ALPHA:g})"
    return [
        Record("drift:category_reference_rows", f"sum by ({FEATURE}) (drift:reference_category)"),
        Record(
            "drift:statistic",
            f"""
            abs(
              drift:category / {one} drift:category_rows
              - drift:reference_category / {one} drift:category_reference_rows
            )
            """,
            {"statistic": "share"},
            "The change of each category's share.",
        ),
        Record(
            "drift:category_pool",
            f"(drift:category + drift:reference_category)\n"
            f"/ {one} (drift:category_rows + drift:category_reference_rows)",
        ),
        _gate(
            "share",
            "chance",
            f"""
            sqrt(
              drift:category_pool * (1 - drift:category_pool) * {one} (
                (1 / drift:category_rows + 1 / drift:category_reference_rows)
                * ({tail} - ln({tail}) - {drift_limits.TAIL:g})
              )
            )
            """,
            "The normal quantile that one of so many categories exceeds once in ten thousand windows, squared.",
        ),
        _gate("share", "effect", f"0 * drift:category_pool + {_EFFECT.share:g}"),
        _gate("share", "floor", f"0 * drift:category_pool + {one} {_floor('share', windows, FEATURE)}"),
    ]


def _verdicts() -> list[Record]:
    return [
        Record(
            "drift:limit",
            "max without (gate) (drift:gate)",
            why="The largest of three: what chance exceeds once in ten thousand windows, an effect that matters, and "
            "what was normal in training, if windows of this length were learnt from.",
        ),
        Record("drift:ratio", "drift:statistic / drift:limit", why="Above 1 is drift, whatever the statistic."),
        Record("drift:feature_ratio", f'max by ({FEATURE}) (drift:ratio{{feature!=""}})'),
        Record("drift:prediction_ratio", f'max by ({VERSION}) (drift:ratio{{feature=""}})'),
        Record(
            "drift:blind",
            "drift:reference_rows and drift:bins >= 2 unless drift:judged",
            why="What nothing can be said of at this moment; of a constant feature nothing ever can.",
        ),
    ]


def _by_bin(cumulative: str) -> str:
    """Cumulative counts taken apart: those at a bin's upper edge less those at its lower one."""

    def at(side: str) -> str:
        return f'max by ({KEY}, bin) (drift:edge{{side="{side}"}} * on ({KEY}, le) group_left () {cumulative})'

    upper, lower = at("upper"), at("lower")
    return f"clamp_min(\n  ({upper}\n  - {lower})\n  or {upper}, 0)"


def _gate(statistic: str, gate: str, expr: str, why: str = "") -> Record:
    """One of the three that a statistic has to exceed."""
    return Record("drift:gate", expr, {"statistic": statistic, "gate": gate}, why)


def _floor(statistic: str, windows: Windows, key: str = KEY) -> str:
    selector = series(instruments.REFERENCE_DRIFT_FLOOR, f'statistic="{statistic}"', f'window="{windows.window_s}s"')
    return f"max by ({key}) ({selector})"


def _as_category(vector: str) -> str:
    return f'sum by ({CATEGORY}) (label_replace({vector}, "category", "$1", "outcome", "(.+)"))'


def _with_rare(kept: str, categories: str) -> str:
    """Categories that are kept, and the sum of the others as one."""
    rare = (
        f'label_replace(sum by ({FEATURE}) ({categories} unless on ({CATEGORY}) {kept}), "category", "{RARE}", "", "")'
    )
    return f"({categories} and on ({CATEGORY}) {kept})\nor {rare}"
