"""The pieces that the queries of the rules are made of, from the names of the instruments."""

from sightline_telemetry.instruments import QUEUE_LENGTH, Instrument

VERSION = "model_name, model_version"
"""What rules group by: two versions of a model have different edges, and must not be added up."""

FEATURE = f"{VERSION}, feature"

PROCESS = "job, instance"
"""A process, whether its metrics came by OTLP or by a scrape; the service's own attributes are lacking in a scrape."""

MODEL_OF_PROCESS = "process:model"
"""Metrics of HTTP and of processes carry no model: they are multiplied by this recorded series, which is 1."""

NO_TRAFFIC = "|/livez|/readyz|/metrics|/v2/health/.*|.*/ready|/v1/models/[^:]*"
"""Routes whose requests are no traffic: probes, KServe's among them, and scrapes. They would hide a slow model behind a
thousand quick answers, and a service that answers that it is not ready yet fails no client. A request to no route,
which is the empty one, is the client's mistake."""

TRAFFIC = f'http_route!~"{NO_TRAFFIC}"'

_DUMMY = 'model_name!="random"'


def buckets(instrument: Instrument, *matchers: str) -> str:
    """A selector of a histogram's buckets.

    >>> from sightline_telemetry.instruments import FEATURE_VALUE
    >>> buckets(FEATURE_VALUE, 'feature="age"')
    'ml_feature_value_bucket{feature="age"}'
    """
    return f"{instrument.prometheus_name}_bucket{_braces(matchers)}"


def counts(instrument: Instrument, *matchers: str) -> str:
    """A selector of how many values a histogram has seen."""
    return f"{instrument.prometheus_name}_count{_braces(matchers)}"


def sums(instrument: Instrument, *matchers: str) -> str:
    """A selector of a histogram's sum."""
    return f"{instrument.prometheus_name}_sum{_braces(matchers)}"


def series(instrument: Instrument, *matchers: str) -> str:
    """A selector of a counter or a gauge.

    >>> from sightline_telemetry.instruments import PREDICTIONS
    >>> series(PREDICTIONS)
    'ml_predictions_total'
    """
    return f"{instrument.prometheus_name}{_braces(matchers)}"


def grown(selector: str, window: str) -> str:
    """How much each counter grew in a window.

    The series of an error is born with the error, and `increase` does not see a birth: what was not there a window ago
    counts as it stands.
    """
    return f"({selector} unless {selector} offset {window}) or increase({selector}[{window}])"


def served_model() -> str:
    """One for every process and the model version it serves; recorded as MODEL_OF_PROCESS."""
    return f"group by ({PROCESS}, {VERSION}) ({series(QUEUE_LENGTH, _DUMMY)})"


def with_model(vector: str) -> str:
    """A vector of HTTP or process metrics with the name and version of the model that its process serves."""
    return f"{vector} * on ({PROCESS}) group_left ({VERSION}) {MODEL_OF_PROCESS}"


def _braces(matchers: tuple[str, ...]) -> str:
    return f"{{{', '.join(matchers)}}}" if matchers else ""
