"""Tenths of a probability: what lies in each, out of cumulative buckets."""

from itertools import pairwise

TENTHS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1")
LABEL = "score"
"""Name of the label with the upper end of a tenth."""

BOUNDS = f'le=~"{"|".join(TENTHS[:-1])}|[+]Inf"'
"""A matcher of the buckets that end with a tenth; the last one is named by Prometheus."""


def in_tenths(cumulative: str, by: tuple[str, ...] = ()) -> str:
    """A series for each tenth.

    cumulative: a vector with the labels `by` and with `le`, of the bounds above. PromQL knows no neighbour of a bucket,
    so every bucket is given the name of its own tenth once, and that of the next one once, to be taken off there.
    """
    own = _renamed(f'label_replace({cumulative}, "{LABEL}", "$1", "le", "(.+)")', "[+]Inf", TENTHS[-1])
    below = cumulative
    for bound, following in pairwise(TENTHS):
        below = _renamed(below, bound, following)
    grouped = f"sum by ({', '.join((*by, LABEL))})"
    return f"({grouped} ({own}) - {grouped} ({below}) or {grouped} ({own}))"


def middles() -> str:
    """The middle of each tenth: what a calibrated model's outcomes come to."""
    return " or ".join(
        f'label_replace(vector({number / 10 + 0.05:.2f}), "{LABEL}", "{tenth}", "", "")'
        for number, tenth in enumerate(TENTHS)
    )


def _renamed(vector: str, bound: str, tenth: str) -> str:
    return f'label_replace({vector}, "{LABEL}", "{tenth}", "le", "{bound}")'
