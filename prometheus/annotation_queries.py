"""Templates of annotations that ask Prometheus for a second number beside the one that alerts."""

from collections.abc import Sequence


def asked(query: str, labels: Sequence[str], shown: str = "{{ .Value | humanize }}") -> str:
    """What a query answers at the moment of the alert.

    query: PromQL in which `%[1]q`, `%[2]q`, ... stand for the values of the alert's labels, in their order.

    >>> asked("a:limit{feature=%[1]q}", ["feature"])
    '{{ range query (printf "a:limit{feature=%[1]q}" $labels.feature) }}{{ .Value | humanize }}{{ end }}'
    """
    values = " ".join(f"$labels.{label}" for label in labels)
    return f'{{{{ range query (printf "{query}" {values}) }}}}{shown}{{{{ end }}}}'


def of_version(*matchers: str) -> str:
    """The matchers of an alert's model version, as `asked` takes them."""
    return "{" + ", ".join(("model_name=%[1]q", "model_version=%[2]q", *matchers)) + "}"


def of_feature(*matchers: str) -> str:
    """The matchers of an alert's feature."""
    return of_version("feature=%[3]q", *matchers)


VERSION_LABELS = ("model_name", "model_version")
FEATURE_LABELS = (*VERSION_LABELS, "feature")
PERCENT = "{{ .Value | humanizePercentage }}"
