"""Lists every instrument: its name, kind, unit, description, attributes, source, and which models have it.

Tests check rules, dashboards and documents against this list, and docs/metrics.md is generated from it. Names follow
OpenTelemetry's naming guidelines: no unit word, no `total`, and no gauge with unit `1` (Prometheus would see `x_ratio`
from Go, and `x` from Python).
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

InstrumentKind = Literal["counter", "updowncounter", "gauge", "histogram"]

InstrumentSource = Literal["requests", "process", "model", "training", "labels", "telemetry"]
"""Where the numbers come from."""

MODEL = ("model.name", "model.version")
MISSING = "__missing__"
UNSEEN = "__unseen__"
OTHER = "__other__"

_PROMETHEUS_UNITS = {"s": "seconds", "By": "bytes"}
_SOURCES: dict[str, InstrumentSource] = {
    "http.": "requests",
    "sightline.traces.": "requests",
    "sightline.connections.": "requests",
    "process.": "process",
    "ml.reference.": "training",
    "ml.feedback": "labels",
    "ml.": "model",
    "sightline.": "telemetry",
}
"""Beginning of a name -> source; the first that fits."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """Describes one instrument of the OpenTelemetry metrics API, its attributes, and the models that have it."""

    name: str
    description: str
    attributes: tuple[str, ...] = ()
    where: str = ""
    """Describes in words the models or features that have this instrument; empty if every model has it."""
    kind: InstrumentKind = field(kw_only=True)
    unit: str = field(default="", kw_only=True)

    @property
    def source(self) -> InstrumentSource:
        """Returns where the numbers come from."""
        return next(source for beginning, source in _SOURCES.items() if self.name.startswith(beginning))

    @property
    def prometheus_name(self) -> str:
        """Returns the metric's name in Prometheus, without `_bucket`, `_sum` and `_count`.

        >>> PREDICTIONS.prometheus_name
        'ml_predictions_total'
        >>> REQUEST_DURATION.prometheus_name
        'http_server_request_duration_seconds'
        """
        unit = f"_{self.prometheus_unit}" if self.prometheus_unit else ""
        return self.name.replace(".", "_") + unit + ("_total" if self.kind == "counter" else "")

    @property
    def prometheus_unit(self) -> str:
        """Returns the unit as Prometheus spells it; empty if the name has no unit there."""
        return _PROMETHEUS_UNITS.get(self.unit, "")


_counter = partial(Instrument, kind="counter", unit="{row}")
_gauge = partial(Instrument, kind="gauge")
_histogram = partial(Instrument, kind="histogram")
_updowncounter = partial(Instrument, kind="updowncounter")

_FEATURE = (*MODEL, "feature")
_CATEGORY = (*_FEATURE, "category")
_OUTCOME = (*MODEL, "outcome")
_CLIENT = ("sightline.client",)
_HTTP = ("http.request.method", "url.scheme")
_CLASSIFIER = "classifiers"
_REGRESSOR = "regressors"
_PROBABILISTIC = "classifiers with `predict_proba`"
_SCORED = "classifiers with `predict_proba`, regressors"
_NUMERIC = "numeric features"
_CATEGORICAL = "categorical features"

REQUEST_DURATION = _histogram(
    "http.server.request.duration",
    "Duration of HTTP server requests.",
    (*_HTTP, "http.route", "http.response.status_code", "error.type"),
    unit="s",
)
ACTIVE_REQUESTS = _updowncounter(
    "http.server.active_requests", "Number of active HTTP server requests.", _HTTP, unit="{request}"
)

(CLIENT,) = _CLIENT
"""The name of a key, for services with keys: from their file, at most 50; the rest is `_OTHER`."""

CLIENT_REQUESTS = _counter(
    "sightline.client.requests",
    "Requests by client and class of status (`2xx` to `5xx`, or `cancelled`).",
    (CLIENT, "status"),
    "services with keys",
    unit="{request}",
)

_WORKER = ("worker",)
PROCESS_CPU_TIME = _counter(
    "process.cpu.time", "Total CPU seconds broken down by different states.", ("type", *_WORKER), unit="s"
)
PROCESS_MEMORY_USAGE = _updowncounter(
    "process.memory.usage", "The amount of physical memory in use.", _WORKER, unit="By"
)
PROCESS_MEMORY_VIRTUAL = _updowncounter(
    "process.memory.virtual", "The amount of committed virtual memory.", _WORKER, unit="By"
)
PROCESS_THREADS = _updowncounter("process.thread.count", "Process threads count.", _WORKER)
PROCESS_OPEN_FILES = _updowncounter(
    "process.open_file_descriptor.count",
    "Number of file descriptors in use by the process.",
    _WORKER,
    "systems other than Windows",
)

QUEUE_LENGTH = _gauge("ml.queue.length", "Rows that wait for the model.", MODEL, unit="{row}")
QUEUE_DURATION = _histogram(
    "ml.queue.duration", "How long the rows of a request waited for the model.", MODEL, unit="s"
)

PREDICTIONS = _counter(
    "ml.predictions",
    "Rows predicted, by predicted outcome (y_pred); in regression without `outcome`. Only services with keys name the "
    "client.",
    (*_OUTCOME, *_CLIENT),
)
PREDICTION_SCORE = _histogram(
    "ml.prediction.score",
    "P(class) of each row; for two classes only of the positive one. In regression the predicted value, in bins "
    "frozen at training, without `outcome`.",
    _OUTCOME,
    _SCORED,
)
PREDICTION_CONFIDENCE = _histogram(
    "ml.prediction.confidence",
    "P(predicted class) of each row; for a calibrated model, its mean is the expected accuracy.",
    MODEL,
    _PROBABILISTIC,
)
PREDICTION_DURATION = _histogram(
    "ml.prediction.duration", "Time of a batch in one step of the pipeline.", (*MODEL, "step"), unit="s"
)
BATCH_SIZE = _histogram("ml.prediction.batch.size", "Rows predicted together.", MODEL, unit="{row}")
PREDICTION_ERRORS = _counter(
    "ml.prediction.errors", "Requests without a prediction.", (*MODEL, "reason"), unit="{request}"
)

FEATURE_VALUE = _histogram("ml.feature.value", "Numeric inputs, in bins frozen at training.", _FEATURE, _NUMERIC)
FEATURE_CATEGORIES = _counter("ml.feature.categories", "Categorical inputs.", _CATEGORY, _CATEGORICAL)
FEATURE_IMPUTED = _counter(
    "ml.feature.imputed",
    "Missing inputs that an imputer filled in.",
    (*_FEATURE, "method"),
    "features behind an imputer",
)
FEATURE_MISSING = _counter("ml.feature.missing", "Missing inputs.", _FEATURE)
FEATURE_OUT_OF_RANGE = _counter(
    "ml.feature.out_of_range",
    "Numeric inputs under the minimum of the training data (`low`) or over its maximum (`high`).",
    (*_FEATURE, "side"),
    _NUMERIC,
)

REFERENCE_FEATURE_VALUE = _histogram(
    "ml.reference.feature.value", "Numeric inputs of the training data.", _FEATURE, _NUMERIC
)
REFERENCE_FEATURE_CATEGORIES = _counter(
    "ml.reference.feature.categories", "Categorical inputs of the training data.", _CATEGORY, _CATEGORICAL
)
REFERENCE_FEATURE_MISSING = _counter("ml.reference.feature.missing", "Missing inputs of the training data.", _FEATURE)
REFERENCE_FEATURE_SINGLETONS = _gauge(
    "ml.reference.feature.singletons",
    "Categories that occur once in the training data; from them follows how many unseen ones to expect.",
    _FEATURE,
    _CATEGORICAL,
    unit="{category}",
)
REFERENCE_DRIFT_FLOOR = _gauge(
    "ml.reference.drift.floor",
    "Floor of a drift statistic, from windows of the training data that are `window` long (`86400s` is a day): below "
    "it there is no drift.",
    (*_FEATURE, "statistic", "window"),
    "models profiled in the order of time",
)
REFERENCE_PREDICTIONS = _counter(
    "ml.reference.predictions",
    "Outcomes predicted for the training data; in regression one series, without `outcome`.",
    _OUTCOME,
)
REFERENCE_PREDICTION_SCORE = _histogram(
    "ml.reference.prediction.score",
    "P(class) for the training data; in regression the predicted value, without `outcome`.",
    _OUTCOME,
    _SCORED,
)
REFERENCE_LABELS = _counter(
    "ml.reference.labels",
    "Labels of the training data (y_train); in regression one series, without `outcome`.",
    _OUTCOME,
)
REFERENCE_LABEL_VALUE = _histogram(
    "ml.reference.label.value", "Labels of the training data (y_train) as numbers.", MODEL, _REGRESSOR
)

_LABELLED = (*MODEL, "ledger")


def withdrawn_name(counted: str) -> str:
    """Returns the name of the instrument of the values that corrected labels take off another instrument."""
    return counted.replace("ml.feedback", "ml.feedback.withdrawn")


def _withdrawn(counted: Instrument, values: str) -> Instrument:
    description = f"{values} to subtract from `{counted.name}` for labels that were corrected."
    return replace(counted, name=withdrawn_name(counted.name), description=description)


FEEDBACK = _counter(
    "ml.feedback",
    "Labels accepted, by predicted and actual outcome: the confusion matrix.",
    (*_LABELLED, "predicted", "actual"),
    _CLASSIFIER,
)
FEEDBACK_SCORE = _histogram(
    "ml.feedback.score",
    "P(outcome) of labelled predictions, by actual outcome, for calibration. For two classes only of the positive "
    "one; for more, `actual` is the outcome itself or `__other__`.",
    (*_LABELLED, "outcome", "actual"),
    _PROBABILISTIC,
)
FEEDBACK_LOSS = _histogram(
    "ml.feedback.loss",
    "Loss of each labelled prediction; sum divided by count is the exact mean.",
    (*_LABELLED, "kind"),
    _PROBABILISTIC,
)
FEEDBACK_ERROR = _histogram(
    "ml.feedback.error",
    "Absolute error of each labelled prediction, by side (`over` or `under`): both sums added give the MAE, "
    "subtracted the bias, each divided by the count.",
    (*_LABELLED, "side"),
    _REGRESSOR,
)
FEEDBACK_WITHDRAWN = replace(
    FEEDBACK,
    name="ml.feedback.withdrawn",
    description="Labels that a later one corrected. The true total is `ml.feedback` minus this; neither ever falls.",
)
FEEDBACK_WITHDRAWN_SCORE = _withdrawn(FEEDBACK_SCORE, "Scores")
FEEDBACK_WITHDRAWN_LOSS = _withdrawn(FEEDBACK_LOSS, "Losses")
FEEDBACK_WITHDRAWN_ERROR = _withdrawn(FEEDBACK_ERROR, "Errors")
FEEDBACK_DELAY = _histogram("ml.feedback.delay", "Time from a prediction to its label.", _LABELLED, unit="s")
FEEDBACK_REJECTED = _counter("ml.feedback.rejected", "Labels that were not counted.", (*_LABELLED, "reason"))

TRACES_KEPT = _counter("sightline.traces.kept", "Traces kept, by reason.", ("reason",), unit="{trace}")
TRACES_OVER_BUDGET = _counter(
    "sightline.traces.over_budget",
    "Traces that had a reason to be kept but were over its allowance, by reason.",
    ("reason",),
    unit="{trace}",
)

FAULTS = _counter(
    "sightline.faults", "Faults of the telemetry itself, by place; none reached a request.", ("place",), unit="{fault}"
)

CONNECTIONS_REFUSED = _counter(
    "sightline.connections.refused",
    "Connections that the server ended at one of its bounds, or for a request that it refused itself, by reason.",
    ("reason",),
    "services",
    unit="{connection}",
)

WORKER_DEATHS = _counter(
    "sightline.worker.deaths",
    "Workers that ended without being stopped, by the signal that ended them; `exit` is an exit of their own.",
    ("signal",),
    "services with an observer process",
    unit="{process}",
)

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Instrument)
)

DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Advised by OpenTelemetry's semantic conventions for `http.server.request.duration`."""

STEP_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The steps of a pipeline take between a tenth of a millisecond and seconds."""

BATCH_SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 10000.0)
"""The bounds cover one row, batches of waiting requests, and 10,000, the largest request by default."""

LOSS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""A Brier loss is at most 2; a log loss, clipped as in scikit-learn, is at most 36.04."""

ERROR_BOUNDS = tuple(float(f"{digit}e{power}") for power in range(-3, 7) for digit in (1, 2, 5))
"""Errors have the label's scale, which is unknown here, so there are three bounds per decade over nine decades."""

DELAY_BOUNDS_S = (
    *(1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0),
    *(days * 86400.0 for days in (1, 2, 4, 7, 14, 30, 60, 90)),
)
"""A label may arrive after seconds (a click) or after months (a loan default)."""
