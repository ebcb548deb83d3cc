"""Lists every instrument: its name, kind, unit, description, attributes, source, and which models have it.

Tests check rules, dashboards and documents against this list, and docs/metrics.md is generated from it. Names follow
OpenTelemetry's naming guidelines: no unit word, no `total`, and no gauge with unit `1` (Prometheus would see `x_ratio`
from Go, and `x` from Python).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

InstrumentKind = Literal["counter", "updowncounter", "gauge", "histogram"]

InstrumentSource = Literal["requests", "process", "model", "training", "labels", "telemetry"]
"""Where the numbers come from; opentelemetry-instrumentation-system-metrics makes those of `process`."""

MODEL = ("model.name", "model.version")
MISSING = "__missing__"
UNSEEN = "__unseen__"
OTHER = "__other__"

_PROMETHEUS_UNITS = {"s": "seconds", "By": "bytes"}


@dataclass(frozen=True, slots=True)
class Instrument:
    """Describes one instrument of the OpenTelemetry metrics API, its attributes, and the models that have it."""

    name: str
    kind: InstrumentKind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    source: InstrumentSource = "model"
    where: str = ""
    """Describes in words the models or features that have this instrument; empty if every model has it."""

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


_requests = partial(Instrument, source="requests")
_process = partial(Instrument, source="process")
_training = partial(Instrument, source="training")
_labels = partial(Instrument, source="labels")

_FEATURE = (*MODEL, "feature")
_CATEGORY = (*_FEATURE, "category")
_OUTCOME = (*MODEL, "outcome")
_HTTP = ("http.request.method", "url.scheme")
_CLASSIFIER = "classifiers"
_REGRESSOR = "regressors"
_PROBABILISTIC = "classifiers with `predict_proba`"
_SCORED = "classifiers with `predict_proba`, regressors"
_NUMERIC = "numeric features"
_CATEGORICAL = "categorical features"

REQUEST_DURATION = _requests(
    "http.server.request.duration",
    "histogram",
    "s",
    "Duration of HTTP server requests.",
    (*_HTTP, "http.route", "http.response.status_code", "network.protocol.version", "error.type"),
)
ACTIVE_REQUESTS = _requests(
    "http.server.active_requests", "updowncounter", "{request}", "Number of active HTTP server requests.", _HTTP
)

PROCESS_CPU_TIME = _process(
    "process.cpu.time", "counter", "s", "Total CPU seconds broken down by different states.", ("type",)
)
PROCESS_MEMORY_USAGE = _process("process.memory.usage", "updowncounter", "By", "The amount of physical memory in use.")
PROCESS_MEMORY_VIRTUAL = _process(
    "process.memory.virtual", "updowncounter", "By", "The amount of committed virtual memory."
)
PROCESS_THREADS = _process("process.thread.count", "updowncounter", "", "Process threads count.")
PROCESS_OPEN_FILES = _process(
    "process.open_file_descriptor.count",
    "updowncounter",
    "",
    "Number of file descriptors in use by the process.",
    where="systems other than Windows",
)

QUEUE_LENGTH = Instrument("ml.queue.length", "gauge", "{row}", "Rows that wait for the model.", MODEL)
QUEUE_DURATION = Instrument(
    "ml.queue.duration", "histogram", "s", "How long the rows of a request waited for the model.", MODEL
)

PREDICTIONS = Instrument(
    "ml.predictions",
    "counter",
    "{row}",
    "Rows predicted, by predicted outcome (y_pred); in regression one series, without `outcome`.",
    _OUTCOME,
)
PREDICTION_SCORE = Instrument(
    "ml.prediction.score",
    "histogram",
    "",
    "P(class) of each row; for two classes only of the positive one. In regression the predicted value, in bins "
    "frozen at training, without `outcome`.",
    _OUTCOME,
    where=_SCORED,
)
PREDICTION_CONFIDENCE = Instrument(
    "ml.prediction.confidence",
    "histogram",
    "",
    "P(predicted class) of each row; for a calibrated model, its mean is the expected accuracy.",
    MODEL,
    where=_PROBABILISTIC,
)
PREDICTION_DURATION = Instrument(
    "ml.prediction.duration", "histogram", "s", "Time of a batch in one step of the pipeline.", (*MODEL, "step")
)
BATCH_SIZE = Instrument("ml.prediction.batch.size", "histogram", "{row}", "Rows predicted together.", MODEL)
PREDICTION_ERRORS = Instrument(
    "ml.prediction.errors", "counter", "{request}", "Requests without a prediction.", (*MODEL, "reason")
)

FEATURE_VALUE = Instrument(
    "ml.feature.value", "histogram", "", "Numeric inputs, in bins frozen at training.", _FEATURE, where=_NUMERIC
)
FEATURE_CATEGORIES = Instrument(
    "ml.feature.categories", "counter", "{row}", "Categorical inputs.", _CATEGORY, where=_CATEGORICAL
)
FEATURE_IMPUTED = Instrument(
    "ml.feature.imputed",
    "counter",
    "{row}",
    "Missing inputs that an imputer filled in.",
    (*_FEATURE, "method"),
    where="features behind an imputer",
)
FEATURE_MISSING = Instrument("ml.feature.missing", "counter", "{row}", "Missing inputs.", _FEATURE)
FEATURE_OUT_OF_RANGE = Instrument(
    "ml.feature.out_of_range",
    "counter",
    "{row}",
    "Numeric inputs under the minimum of the training data (`low`) or over its maximum (`high`).",
    (*_FEATURE, "side"),
    where=_NUMERIC,
)

REFERENCE_FEATURE_VALUE = _training(
    "ml.reference.feature.value", "histogram", "", "Numeric inputs of the training data.", _FEATURE, where=_NUMERIC
)
REFERENCE_FEATURE_CATEGORIES = _training(
    "ml.reference.feature.categories",
    "counter",
    "{row}",
    "Categorical inputs of the training data.",
    _CATEGORY,
    where=_CATEGORICAL,
)
REFERENCE_FEATURE_MISSING = _training(
    "ml.reference.feature.missing", "counter", "{row}", "Missing inputs of the training data.", _FEATURE
)
REFERENCE_FEATURE_SINGLETONS = _training(
    "ml.reference.feature.singletons",
    "gauge",
    "{category}",
    "Categories that occur once in the training data; from them follows how many unseen ones to expect.",
    _FEATURE,
    where=_CATEGORICAL,
)
REFERENCE_DRIFT_FLOOR = _training(
    "ml.reference.drift.floor",
    "gauge",
    "",
    "Floor of a drift statistic, from windows of the training data that are `window` long (`86400s` is a day): below "
    "it there is no drift.",
    (*_FEATURE, "statistic", "window"),
    where="models profiled in the order of time",
)
REFERENCE_PREDICTIONS = _training(
    "ml.reference.predictions",
    "counter",
    "{row}",
    "Outcomes predicted for the training data; in regression one series, without `outcome`.",
    _OUTCOME,
)
REFERENCE_PREDICTION_SCORE = _training(
    "ml.reference.prediction.score",
    "histogram",
    "",
    "P(class) for the training data; in regression the predicted value, without `outcome`.",
    _OUTCOME,
    where=_SCORED,
)
REFERENCE_LABELS = _training(
    "ml.reference.labels",
    "counter",
    "{row}",
    "Labels of the training data (y_train); in regression one series, without `outcome`.",
    _OUTCOME,
)
REFERENCE_LABEL_VALUE = _training(
    "ml.reference.label.value",
    "histogram",
    "",
    "Labels of the training data (y_train) as numbers.",
    MODEL,
    where=_REGRESSOR,
)

_LABELLED = (*MODEL, "ledger")


def _withdrawn(counted: Instrument, values: str) -> Instrument:
    """Returns the instrument of the values that corrected labels take off another instrument."""
    name = counted.name.replace("ml.feedback", "ml.feedback.withdrawn")
    description = f"{values} to subtract from `{counted.name}` for labels that were corrected."
    return replace(counted, name=name, description=description)


FEEDBACK = _labels(
    "ml.feedback",
    "counter",
    "{row}",
    "Labels accepted, by predicted and actual outcome: the confusion matrix.",
    (*_LABELLED, "predicted", "actual"),
    where=_CLASSIFIER,
)
FEEDBACK_SCORE = _labels(
    "ml.feedback.score",
    "histogram",
    "",
    "P(outcome) of labelled predictions, by actual outcome, for calibration. For two classes only of the positive "
    "one; for more, `actual` is the outcome itself or `__other__`.",
    (*_LABELLED, "outcome", "actual"),
    where=_PROBABILISTIC,
)
FEEDBACK_LOSS = _labels(
    "ml.feedback.loss",
    "histogram",
    "",
    "Loss of each labelled prediction; sum divided by count is the exact mean.",
    (*_LABELLED, "kind"),
    where=_PROBABILISTIC,
)
FEEDBACK_ERROR = _labels(
    "ml.feedback.error",
    "histogram",
    "",
    "Absolute error of each labelled prediction, by side (`over` or `under`): both sums added give the MAE, "
    "subtracted the bias, each divided by the count.",
    (*_LABELLED, "side"),
    where=_REGRESSOR,
)
FEEDBACK_WITHDRAWN = _labels(
    "ml.feedback.withdrawn",
    "counter",
    "{row}",
    "Labels that a later one corrected. The true total is `ml.feedback` minus this; neither ever falls.",
    (*_LABELLED, "predicted", "actual"),
    where=_CLASSIFIER,
)
FEEDBACK_WITHDRAWN_SCORE = _withdrawn(FEEDBACK_SCORE, "Scores")
FEEDBACK_WITHDRAWN_LOSS = _withdrawn(FEEDBACK_LOSS, "Losses")
FEEDBACK_WITHDRAWN_ERROR = _withdrawn(FEEDBACK_ERROR, "Errors")
FEEDBACK_DELAY = _labels("ml.feedback.delay", "histogram", "s", "Time from a prediction to its label.", _LABELLED)
FEEDBACK_REJECTED = _labels(
    "ml.feedback.rejected", "counter", "{row}", "Labels that were not counted.", (*_LABELLED, "reason")
)

TRACES_KEPT = _requests("sightline.traces.kept", "counter", "{trace}", "Traces kept, by reason.", ("reason",))
TRACES_OVER_BUDGET = _requests(
    "sightline.traces.over_budget",
    "counter",
    "{trace}",
    "Traces that had a reason to be kept but were over its allowance, by reason.",
    ("reason",),
)

FAULTS = Instrument(
    "sightline.faults",
    "counter",
    "{fault}",
    "Faults of the telemetry itself, by place; none reached a request.",
    ("place",),
    source="telemetry",
)

WORKER_DEATHS = Instrument(
    "sightline.worker.deaths",
    "counter",
    "{process}",
    "Workers that ended without being stopped, by the signal that ended them; `exit` is an exit of their own.",
    ("signal",),
    source="telemetry",
    where="services with an observer process",
)

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Instrument)
)

DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Advised by OpenTelemetry's semantic conventions for `http.server.request.duration`."""

STEP_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The steps of a pipeline take between a tenth of a millisecond and seconds."""

BATCH_SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 10000.0)
"""The bounds cover one row, the 256 rows that the recorder gathers, and 10,000, the largest request by default."""

LOSS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""A Brier loss is at most 2; a log loss, clipped as in scikit-learn, is at most 36.04."""

ERROR_BOUNDS = tuple(float(f"{digit}e{power}") for power in range(-3, 7) for digit in (1, 2, 5))
"""Errors have the label's scale, which is unknown here, so there are three bounds per decade over nine decades."""

DELAY_BOUNDS_S = (
    *(1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0),
    *(days * 86400.0 for days in (1, 2, 4, 7, 14, 30, 60, 90)),
)
"""A label may arrive after seconds (a click) or after months (a loan default)."""
