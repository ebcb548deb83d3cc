"""Every instrument: its name, kind, unit and attributes.

Rules, dashboards and documents are checked against this list. Names follow OpenTelemetry's naming
guidelines: no unit word, no `total`, and no gauge with unit `1` (Go would call it `x_ratio`, Python `x`).
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "updowncounter", "gauge", "histogram"]

MODEL = ("model.name", "model.version")
MISSING = "__missing__"
UNSEEN = "__unseen__"

_SUFFIX_OF_UNIT = {"s": "_seconds", "By": "_bytes"}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument of the OpenTelemetry metrics API, and what its attributes may be."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The metric's name in Prometheus, without `_bucket`, `_sum` and `_count`.

        >>> PREDICTIONS.prometheus_name
        'ml_predictions_total'
        >>> REQUEST_DURATION.prometheus_name
        'http_server_request_duration_seconds'
        """
        name = self.name.replace(".", "_") + _SUFFIX_OF_UNIT.get(self.unit, "")
        return name + "_total" if self.kind == "counter" else name


_HTTP = ("http.request.method", "url.scheme")

REQUEST_DURATION = Instrument(
    "http.server.request.duration",
    "histogram",
    "s",
    "Duration of HTTP server requests.",
    (*_HTTP, "http.route", "http.response.status_code", "network.protocol.version", "error.type"),
)
ACTIVE_REQUESTS = Instrument(
    "http.server.active_requests", "updowncounter", "{request}", "Number of active HTTP server requests.", _HTTP
)

QUEUE_LENGTH = Instrument("ml.queue.length", "gauge", "{row}", "Rows that wait for the model.", MODEL)
QUEUE_DURATION = Instrument(
    "ml.queue.duration", "histogram", "s", "How long the rows of a request waited for the model.", MODEL
)

PREDICTIONS = Instrument(
    "ml.predictions", "counter", "{row}", "Rows predicted, by what the model said (y_pred).", (*MODEL, "outcome")
)
PREDICTION_SCORE = Instrument(
    "ml.prediction.score",
    "histogram",
    "",
    "P(class) of each row; of the positive class only where there are two.",
    (*MODEL, "outcome"),
)
PREDICTION_DURATION = Instrument(
    "ml.prediction.duration", "histogram", "s", "Time of a batch in one step of the pipeline.", (*MODEL, "step")
)
BATCH_SIZE = Instrument("ml.prediction.batch.size", "histogram", "{row}", "Rows predicted together.", MODEL)
PREDICTION_ERRORS = Instrument(
    "ml.prediction.errors", "counter", "{request}", "Requests without a prediction.", (*MODEL, "reason")
)

FEATURE_VALUE = Instrument(
    "ml.feature.value", "histogram", "", "Numeric inputs, in bins frozen at training.", (*MODEL, "feature")
)
FEATURE_CATEGORIES = Instrument(
    "ml.feature.categories", "counter", "{row}", "Categorical inputs.", (*MODEL, "feature", "category")
)
FEATURE_IMPUTED = Instrument(
    "ml.feature.imputed", "counter", "{row}", "Values that an imputer filled in.", (*MODEL, "feature", "method")
)
FEATURE_MISSING = Instrument("ml.feature.missing", "counter", "{row}", "Missing inputs.", (*MODEL, "feature"))

REFERENCE_FEATURE_VALUE = Instrument(
    "ml.reference.feature.value", "histogram", "", "Numeric inputs of the training data.", (*MODEL, "feature")
)
REFERENCE_FEATURE_CATEGORIES = Instrument(
    "ml.reference.feature.categories",
    "counter",
    "{row}",
    "Categorical inputs of the training data.",
    (*MODEL, "feature", "category"),
)
REFERENCE_FEATURE_MISSING = Instrument(
    "ml.reference.feature.missing", "counter", "{row}", "Missing inputs of the training data.", (*MODEL, "feature")
)
REFERENCE_PREDICTIONS = Instrument(
    "ml.reference.predictions", "counter", "{row}", "Outcomes predicted for the training data.", (*MODEL, "outcome")
)
REFERENCE_PREDICTION_SCORE = Instrument(
    "ml.reference.prediction.score", "histogram", "", "P(class) for the training data.", (*MODEL, "outcome")
)
REFERENCE_LABELS = Instrument(
    "ml.reference.labels", "counter", "{row}", "Labels of the training data (y_train).", (*MODEL, "outcome")
)

TRACES_KEPT = Instrument("sightline.traces.kept", "counter", "{trace}", "Traces kept, by reason.", ("reason",))
TRACES_OVER_BUDGET = Instrument(
    "sightline.traces.over_budget",
    "counter",
    "{trace}",
    "Traces that had a reason and that the allowance cut.",
    ("reason",),
)

FAULTS = Instrument(
    "sightline.faults", "counter", "{fault}", "Faults of the telemetry itself; none reached a request.", ("place",)
)

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Instrument)
)

DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Advised by OpenTelemetry's semantic conventions for `http.server.request.duration`."""

STEP_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""A step of a pipeline takes from a tenth of a millisecond to seconds."""

BATCH_SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 10000.0)
