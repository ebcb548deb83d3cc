"""The pieces that PromQL queries of the dashboards are made of.

Metrics of a model carry its name and version. Those of HTTP and of the process do not: they are joined to the model
that the same process serves, by `service.instance.id`. One process serves one model, so the join has one match.
"""

from prometheus.selectors import TRAFFIC
from sightline_telemetry.instruments import MODEL as MODEL_ATTRIBUTES
from sightline_telemetry.instruments import QUEUE_LENGTH, REQUEST_DURATION, Instrument

WINDOW = "$__rate_interval"
OF_MODEL = ('model_name=~"$model"', 'model_version=~"$version"')
VERSION = ("model_name", "model_version")
INSTANCE = "service_instance_id"
FAILED = 'http_response_status_code=~"5.."'

_SUFFIXES = ("_bucket", "_count", "_sum")


def series(instrument: Instrument, *matchers: str, suffix: str = "") -> str:
    """A selector of an instrument's series; those of a model are narrowed to the chosen ones.

    suffix: `_bucket`, `_count` or `_sum` of a histogram.

    >>> from sightline_telemetry.instruments import PREDICTIONS
    >>> series(PREDICTIONS, 'outcome="late"')
    'ml_predictions_total{model_name=~"$model", model_version=~"$version", outcome="late"}'
    """
    if (instrument.kind == "histogram") != (suffix in _SUFFIXES):
        raise ValueError(f"{instrument.name} is a {instrument.kind}: it has no series with the suffix {suffix!r}")
    scope = OF_MODEL if set(MODEL_ATTRIBUTES) <= set(instrument.attributes) else ()
    return f"{instrument.prometheus_name}{suffix}{{{', '.join((*scope, *matchers))}}}"


def recorded(name: str, *matchers: str) -> str:
    """A selector of a recorded series of the chosen models.

    >>> recorded("drift:ratio", 'statistic="ks"')
    'drift:ratio{model_name=~"$model", model_version=~"$version", statistic="ks"}'
    """
    return f"{name}{{{', '.join((*OF_MODEL, *matchers))}}}"


def rate(selector: str, window: str = WINDOW) -> str:
    """Growth a second of a counter.

    >>> rate("requests_total{}")
    'rate(requests_total{}[$__rate_interval])'
    """
    return f"rate({selector}[{window}])"


def served(vector: str) -> str:
    """A vector of process or HTTP metrics with the name and version of the model that its process serves."""
    model = f"group by ({INSTANCE}, {', '.join(VERSION)}) ({series(QUEUE_LENGTH)})"
    return f"{vector} * on ({INSTANCE}) group_left ({', '.join(VERSION)}) {model}"


def total(by: tuple[str, ...], vector: str) -> str:
    """A sum by labels.

    >>> total(("http_route",), "up")
    'sum by (http_route) (up)'
    """
    return f"sum by ({', '.join(by)}) ({vector})"


def quantile(q: float, by: tuple[str, ...], buckets: str) -> str:
    """A quantile of classic buckets, by labels.

    >>> quantile(0.99, (), "rate(wait_seconds_bucket{}[1m])")
    'histogram_quantile(0.99, sum by (le) (rate(wait_seconds_bucket{}[1m])))'
    """
    return f"histogram_quantile({q}, {total(('le', *by), buckets)})"


def requests(*matchers: str) -> str:
    """Requests per second by series, with the model that their process serves."""
    return served(rate(series(REQUEST_DURATION, TRAFFIC, *matchers, suffix="_count")))


def request_buckets(*matchers: str) -> str:
    """Growth a second of the latency buckets, with the model that their process serves."""
    return served(rate(series(REQUEST_DURATION, TRAFFIC, *matchers, suffix="_bucket")))


def failed_requests(by: tuple[str, ...]) -> str:
    """Failed requests per second, counted in the buckets: exemplars hang on those, and on no other series.

    Buckets are cumulative, so the largest of a series is its count.
    """
    return served_total(by, f"max without (le) ({rate(series(REQUEST_DURATION, TRAFFIC, FAILED, suffix='_bucket'))})")


def served_total(by: tuple[str, ...], vector: str) -> str:
    """A sum by labels of process or HTTP metrics, the model's name and version among the labels."""
    return total(by, served(vector))
