"""*Features*: one row per feature, the most drifted first: distribution against training, drift, what is missing."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from grafana.links import FEATURES_UID, TO_OVERVIEW, TO_PREDICTIONS
from grafana.panels import About, Panel, Query, bars, lines, rows
from grafana.promql import VERSION, rate, recorded, series, total
from grafana.screens import Row, Screen, variable
from sightline_telemetry import instruments

_LEGEND = "{{model_name}} {{model_version}}"
_FEATURE = (*VERSION, "feature")
_CHOSEN = 'feature=~"$feature"'
_UNSEEN = f'category="{instruments.UNSEEN}"'
_UPPER = 'side="upper"'
_OF_ROWS = "on (model_name, model_version) group_left ()"


def features() -> models.Dashboard:
    """The screen that an alert on drift or on data quality leads to."""
    return Screen(
        FEATURES_UID,
        "Features",
        "Every feature beside its training data, the most drifted first. Drift is judged over the rules' own window.",
        (Row("All features", _all()), Row("$feature", _one(), repeated_by="feature")),
        (_by_drift(),),
    ).build()


def _by_drift() -> dashboard.QueryVariable:
    """Features in the order of their drift; those that cannot be judged yet come last."""
    drift = f"max by (feature) ({recorded('drift:feature_ratio')})"
    every = f"0 * group by (feature) ({series(instruments.FEATURE_MISSING)})"
    return (
        variable("feature", "Feature", f"query_result(sort_desc({drift} or {every}))", "Each has a row of its own.")
        .regex('/feature="([^"]+)"/')
        .sort(models.VariableSort.DISABLED)
    )


def _all() -> list[Panel]:
    predicted = total(VERSION, f"increase({series(instruments.PREDICTIONS)}[$__range])")

    def share(selector: str) -> str:
        grown = total(_FEATURE, f"increase({selector}[$__range])")
        return f"max by (feature) ({grown} / {_OF_ROWS} ({predicted} > 0))"

    def statistic(name: str) -> str:
        selector = recorded("drift:statistic", f'statistic="{name}"', 'feature!=""')
        return f"max by (feature) ({selector})"

    return [
        rows(
            About(
                "Features by drift",
                "none",
                "Drift by its limit: above 1, a feature has drifted beyond chance, beyond what matters and beyond what "
                "was usual in training. KS and PSI are of numbers, the change of a share is of categories. The other "
                "columns are shares of the rows in this time range.",
                TO_PREDICTIONS,
            ),
            "feature",
            Query(f"max by (feature) ({recorded('drift:feature_ratio')})", "drift by its limit"),
            Query(statistic("ks"), "KS"),
            Query(statistic("psi"), "PSI"),
            Query(statistic("share"), "change of a share"),
            Query(share(series(instruments.FEATURE_MISSING)), "missing"),
            Query(share(series(instruments.FEATURE_IMPUTED)), "imputed"),
            Query(share(series(instruments.FEATURE_CATEGORIES, _UNSEEN)), "unseen"),
            Query(share(series(instruments.FEATURE_OUT_OF_RANGE)), "out of range"),
            shares=("missing", "imputed", "unseen", "out of range"),
        )
    ]


def _one() -> list[Panel]:
    return [
        bars(
            About(
                "Distribution of $feature against training",
                "percentunit",
                "Share of rows in each bin, named by its upper edge, or in each category; rare ones are one. "
                "The rules' window beside the training data.",
                TO_PREDICTIONS,
            ),
            "value",
            Query(_shares("drift:share", 'of="window"', "drift:category", "drift:category_rows"), "serving"),
            Query(
                _shares("drift:share", 'of="reference"', "drift:reference_category", "drift:category_reference_rows"),
                "training",
            ),
            order="bin",
        ),
        lines(
            About(
                "Drift of $feature and its limit",
                "none",
                "Each statistic and the limit that it must exceed: of chance, of an effect that matters, of what "
                "was usual in training, the largest. Of categories, the largest change of a share, the smallest limit.",
                TO_PREDICTIONS,
            ),
            Query(_worst("max", "drift:statistic"), "{{statistic}}  " + _LEGEND),
            Query(_worst("min", "drift:limit"), "limit of {{statistic}}  " + _LEGEND),
        ).span(6),
        lines(
            About(
                "Missing, imputed, unseen: $feature",
                "percentunit",
                "Shares of the rows, beside how much was missing in training.",
                TO_OVERVIEW,
            ),
            Query(_share_now(instruments.FEATURE_MISSING, ()), "missing  " + _LEGEND),
            Query(_missing_in_training(), "missing in training  " + _LEGEND),
            Query(_share_now(instruments.FEATURE_IMPUTED, ("method",)), "imputed: {{method}}  " + _LEGEND),
            Query(_share_now(instruments.FEATURE_CATEGORIES, (), _UNSEEN), "unseen  " + _LEGEND),
            Query(_share_now(instruments.FEATURE_OUT_OF_RANGE, ("side",)), "out of range: {{side}}  " + _LEGEND),
        ).span(6),
    ]


def _worst(aggregate: str, record: str) -> str:
    return f"{aggregate} by (model_name, model_version, statistic) ({recorded(record, _CHOSEN)})"


def _shares(of_bins: str, which: str, of_categories: str, category_rows: str) -> str:
    """Shares by `value`, with the number of the bin by which they are put in order.

    A bin that was empty in training is one with its neighbour, and has two upper edges: one of them names it.
    """
    bins = "model_name, model_version, feature, bin"
    edges = f"topk by ({bins}) (1, {recorded('drift:edge', _CHOSEN, _UPPER)})"
    numbers = f"{recorded(of_bins, _CHOSEN, which)} * on ({bins}) group_left (le) {edges}"
    categories = (
        f"{recorded(of_categories, _CHOSEN)} / on (model_name, model_version, feature) group_left () "
        f"{recorded(category_rows, _CHOSEN)}"
    )
    return " or ".join(
        f'avg by (bin, value) (label_replace({vector}, "value", "$1", "{label}", "(.+)"))'
        for vector, label in ((numbers, "le"), (categories, "category"))
    )


def _share_now(instrument: instruments.Instrument, by: tuple[str, ...], *matchers: str) -> str:
    grown = total((*VERSION, *by), rate(series(instrument, _CHOSEN, *matchers)))
    return f"{grown} / {_OF_ROWS} ({total(VERSION, rate(series(instruments.PREDICTIONS)))} > 0)"


def _missing_in_training() -> str:
    missing = f"max by ({', '.join(VERSION)}) ({series(instruments.REFERENCE_FEATURE_MISSING, _CHOSEN)})"
    trained = f"max by (model_name, model_version, outcome) ({series(instruments.REFERENCE_PREDICTIONS)})"
    return f"{missing} / (sum by (model_name, model_version) ({trained}) > 0)"
