"""What each alert must fire on, what lies just below, and no traffic; a deployment each."""

from dataclasses import replace

from prometheus.windows import Windows
from tests.prometheus.cases_labels import LABELS
from tests.prometheus.promtool import SAMPLE_S, Case, Series, changing, constant, growing, metric
from tests.prometheus.traffic import IDLE, Reference, Traffic, deployment

TIMING = Windows(240)
"""Four minutes for a window, so that thousands of samples are not needed: steps and holds are then 30 s."""

AT_S = 600
SAMPLES = 800 // SAMPLE_S

USUAL = Traffic()
HALVES = tuple(40 + 8.4 * sign for sign in (*(1,) * 5, *(-1,) * 5))
"""KS of 0.105: a tenth of the rows, and a little, on the other side of the median."""

ALMOST_HALVES = tuple(40 + 7.6 * sign for sign in (*(1,) * 5, *(-1,) * 5))
WIDER = (66.0, *(33.5,) * 8, 66.0)
"""PSI of 0.088 with a KS of 0.065: more in both tails."""

ALMOST_WIDER = (58.0, *(35.5,) * 8, 58.0)
FAILING = (("200", 392.0, 0.0), ("500", 8.0, 0.0))
ALMOST_FAILING = (("200", 398.0, 0.0), ("500", 2.0, 0.0))


def _of(name: str, traffic: Traffic, fires: str = "", about: str = "", reference: Reference | None = None) -> Case:
    return Case(name, deployment(name, traffic, SAMPLES, reference), tuple(fires.split()), tuple(about.split()))


ALERTS_OF_MODELS = (
    "FeatureDrift TrainingServingSkew PredictionDrift DriftBlind FeatureMissing FeatureImputed FeatureUnseen "
    "FeatureOutOfRange RequestsRejected AvailabilityBudgetBurning AvailabilityBudgetLeaking LatencyBudgetBurning "
    "LatencyBudgetLeaking QueueSaturated CpuSaturated MemoryGrowing"
)

DRIFT = (
    _of("drift-halves", replace(USUAL, age=HALVES), "FeatureDrift"),
    _of("drift-halves-below", replace(USUAL, age=ALMOST_HALVES), about="FeatureDrift"),
    _of("drift-tails", replace(USUAL, age=WIDER), "FeatureDrift"),
    _of("drift-tails-below", replace(USUAL, age=ALMOST_WIDER), about="FeatureDrift"),
    _of("drift-of-few-rows", replace(USUAL, age=HALVES).less(30), about="FeatureDrift"),
    _of("drift-of-too-few-rows", replace(USUAL, age=(30, *(1,) * 9)).less(10), about="FeatureDrift"),
    _of("drift-city", replace(USUAL, city={"Bern": 186, "Oslo": 134, "Rome": 80}), "FeatureDrift"),
    _of("drift-city-below", replace(USUAL, city={"Bern": 189, "Oslo": 131, "Rome": 80}), about="FeatureDrift"),
    _of(
        "drift-in-habit",
        replace(USUAL, age=HALVES),
        about="FeatureDrift",
        reference=Reference(floors={("age", "ks"): 0.2, ("age", "psi"): 0.2}, window_s=240),
    ),
    _of(
        "drift-in-habit-of-other-windows",
        replace(USUAL, age=HALVES),
        "FeatureDrift",
        reference=Reference(floors={("age", "ks"): 0.2, ("age", "psi"): 0.2}, window_s=86_400),
    ),
    _of("predictions", replace(USUAL, outcomes={"no": 186, "yes": 214}), "PredictionDrift"),
    _of("predictions-below", replace(USUAL, outcomes={"no": 189, "yes": 211}), about="PredictionDrift"),
    _of("scores", replace(USUAL, score=(*(25.0,) * 10, *(15.0,) * 10, 0.0)), "PredictionDrift"),
    _of(
        "predictions-of-drifted-inputs",
        replace(USUAL, outcomes={"no": 100, "yes": 300}, age=HALVES),
        "FeatureDrift",
        about="PredictionDrift",
    ),
    _of("blind", USUAL.less(200), "DriftBlind"),
    _of("blind-below", USUAL.less(40), about="DriftBlind"),
)

QUALITY = (
    _of("missing", replace(USUAL, missing=33), "FeatureMissing"),
    _of("missing-below", replace(USUAL, missing=31), about="FeatureMissing FeatureImputed"),
    _of("imputed", replace(USUAL, imputed=33), "FeatureImputed"),
    _of("imputed-below", replace(USUAL, imputed=31), about="FeatureImputed"),
    _of("unseen", replace(USUAL, city={"Bern": 200, "Oslo": 120, "Rome": 79, "__unseen__": 1}), "FeatureUnseen"),
    _of(
        "unseen-below",
        replace(USUAL, city={"Bern": 200, "Oslo": 120, "Rome": 79.3, "__unseen__": 0.7}),
        about="FeatureUnseen",
    ),
    _of(
        "unseen-as-expected",
        replace(USUAL, city={"Bern": 200, "Oslo": 120, "Rome": 79, "__unseen__": 1}),
        about="FeatureUnseen",
        reference=Reference(singletons=250),
    ),
    _of("outside", replace(USUAL, low=4.5), "FeatureOutOfRange"),
    _of("outside-below", replace(USUAL, low=3.9), about="FeatureOutOfRange"),
    _of("outside-and-drifted", replace(USUAL, low=4.5, age=HALVES), "FeatureDrift", about="FeatureOutOfRange"),
    _of("rejected", replace(USUAL, rejected=25), "RequestsRejected"),
    _of("rejected-below", replace(USUAL, rejected=20), about="RequestsRejected"),
)

SIGNALS = (
    _of("failing", replace(USUAL, requests=FAILING), "AvailabilityBudgetBurning", about="AvailabilityBudgetLeaking"),
    _of("failing-below", replace(USUAL, requests=ALMOST_FAILING), "AvailabilityBudgetLeaking"),
    _of(
        "failing-a-little",
        replace(USUAL, requests=(("200", 399.7, 0), ("500", 0.35, 0))),
        about="AvailabilityBudgetBurning AvailabilityBudgetLeaking",
    ),
    _of(
        "failing-at-night",
        replace(USUAL, requests=(("200", 1, 0), ("500", 0.05, 0))),
        about="AvailabilityBudgetBurning AvailabilityBudgetLeaking",
    ),
    _of("slow", replace(USUAL, requests=(("200", 340, 60),)), "LatencyBudgetBurning", about="LatencyBudgetLeaking"),
    _of("slow-below", replace(USUAL, requests=(("200", 380, 20),)), "LatencyBudgetLeaking"),
    _of(
        "slow-a-little",
        replace(USUAL, requests=(("200", 396.5, 3.5),)),
        about="LatencyBudgetBurning LatencyBudgetLeaking",
    ),
    _of("refused", replace(USUAL, requests=(("200", 200, 0), ("422", 200, 0))), about="AvailabilityBudgetBurning"),
    _of("queue", replace(USUAL, waits=(376, 24)), "QueueSaturated"),
    _of("queue-below", replace(USUAL, waits=(381, 19)), about="QueueSaturated"),
    _of("cpu", replace(USUAL, cores=0.95, waits=(376, 24)), "CpuSaturated", about="QueueSaturated"),
    _of("cpu-below", replace(USUAL, cores=0.85), about="CpuSaturated"),
    _of("cpu-busy-and-no-request-waits", replace(USUAL, cores=1.5), about="CpuSaturated"),
    _of("memory", replace(USUAL, memory="400000000x43 800000000x60"), "MemoryGrowing"),
    _of("memory-below", replace(USUAL, memory="600000000x43 850000000x60"), about="MemoryGrowing"),
    _of("memory-peak", replace(USUAL, memory="400000000x52 900000000x2 400000000x40"), about="MemoryGrowing"),
    _of("usual", USUAL, about=ALERTS_OF_MODELS),
    _of("idle", IDLE, about=ALERTS_OF_MODELS),
)


def _sdk(name: str, spans: str, points: str) -> list[Series]:
    labels = {"job": name, "instance": "a", "otel_component_name": "x"}
    return [
        (metric("otel_sdk_processor_span_processed_total", **labels), growing(5, SAMPLES)),
        (metric("otel_sdk_processor_span_processed_total", **labels, error_type="queue_full"), spans),
        (metric("otel_sdk_exporter_span_exported_total", **labels), growing(5, SAMPLES)),
        (metric("otel_sdk_exporter_metric_data_point_exported_total", **labels, error_type="timeout"), points),
    ]


def _collector(name: str, queue: float, sent: float, lost: str = "_") -> list[Series]:
    labels = {"job": name, "instance": "c", "exporter": "otlp_http/x"}
    return [
        (metric("up", job=name, instance="c"), constant(1, SAMPLES)),
        (metric("otelcol_exporter_queue_size", **labels, data_type="metrics"), constant(queue, SAMPLES)),
        (metric("otelcol_exporter_queue_capacity", **labels, data_type="metrics"), constant(1_000, SAMPLES)),
        (metric("otelcol_exporter_sent_metric_points", **labels), growing(sent, SAMPLES)),
        (metric("otelcol_exporter_send_failed_metric_points", **labels), lost),
    ]


def _faults(name: str, values: str) -> list[Series]:
    return [(metric("sightline_faults_total", job=name, instance="a", place="export"), values)]


def _deaths(name: str, values: str) -> list[Series]:
    return [(metric("sightline_worker_deaths_total", job=name, instance="a", signal="SIGSEGV"), values)]


def _up(name: str, values: str) -> list[Series]:
    return [(metric("up", job=name, instance="a"), values)]


def _silent(name: str, values: str) -> list[Series]:
    return [(metric("ml_queue_length", job=name, instance="a", model_name=name, model_version="1"), values)]


_NEVER, _BORN = "_", f"_x{AT_S // SAMPLE_S - 2} 7x20"
_LONG_AGO = "_x20 7x60"

TELEMETRY = (
    Case("spans-dropped", _sdk("spans-dropped", _BORN, _NEVER), ("SpansDropped",)),
    Case("spans-dropped-again", _sdk("spans-dropped-again", growing(1, SAMPLES), _NEVER), ("SpansDropped",)),
    Case("spans-dropped-long-ago", _sdk("spans-dropped-long-ago", _LONG_AGO, _NEVER), about=("SpansDropped",)),
    Case("exports-failing", _sdk("exports-failing", _NEVER, growing(1, SAMPLES)), ("ExportsFailing",)),
    Case("exports-failed-once", _sdk("exports-failed-once", _NEVER, _LONG_AGO), about=("ExportsFailing",)),
    Case("sdk-well", _sdk("sdk-well", _NEVER, _NEVER), about=("SpansDropped", "ExportsFailing")),
    Case(
        "faults",
        _faults("faults", growing(1, SAMPLES)),
        ("TelemetryFaults",),
    ),
    Case(
        "faults-long-ago",
        _faults("faults-long-ago", "0x20 3x60"),
        about=("TelemetryFaults",),
    ),
    Case("faults-none", _faults("faults-none", constant(0, SAMPLES)), about=("TelemetryFaults",)),
    Case("deaths", _deaths("deaths", _BORN), ("WorkersDying",)),
    Case("deaths-none", _deaths("deaths-none", constant(0, SAMPLES)), about=("WorkersDying",)),
    Case("deaths-long-ago", _deaths("deaths-long-ago", _LONG_AGO), about=("WorkersDying",)),
    Case("queue-fills", _collector("queue-fills", 510, 5), ("CollectorQueueFilling",)),
    Case("queue-fills-below", _collector("queue-fills-below", 490, 5), about=("CollectorQueueFilling",)),
    Case("nothing-sent", _collector("nothing-sent", 3, 0), ("CollectorExportsFailing",)),
    Case("points-lost", _collector("points-lost", 0, 5, growing(1, SAMPLES)), ("CollectorExportsFailing",)),
    Case("something-sent", _collector("something-sent", 3, 1), about=("CollectorExportsFailing",)),
    Case(
        "collector-idle",
        _collector("collector-idle", 0, 0),
        about=("CollectorQueueFilling", "CollectorExportsFailing"),
    ),
    Case("target-down", _up("target-down", constant(0, SAMPLES)), ("TargetDown",)),
    Case("target-missed-once", _up("target-missed-once", f"1x{AT_S // SAMPLE_S - 2} 0x1 1x40"), about=("TargetDown",)),
    Case("target-up", _up("target-up", constant(1, SAMPLES)), about=("TargetDown",)),
    Case("silent", _silent("silent", "0x50 stale"), ("ServiceSilent",)),
    Case("silent-long-ago", _silent("silent-long-ago", "0x30 stale"), about=("ServiceSilent",)),
    Case(
        "silent-replica",
        [*_silent("silent-replica", "0x50 stale"), *deployment("silent-replica", USUAL, SAMPLES, instance="b")],
        about=("ServiceSilent",),
    ),
)

LATER_S = 1_200
_LONG = LATER_S // SAMPLE_S + 2
_DRIFTED = replace(USUAL, age=HALVES)

LATER = (
    Case("skew", deployment("skew", _DRIFTED, _LONG), ("FeatureDrift", "TrainingServingSkew")),
    Case(
        "skew-once-fine",
        changing(deployment("skew-once-fine", USUAL, _LONG), deployment("skew-once-fine", _DRIFTED, _LONG), 36),
        ("FeatureDrift",),
        ("TrainingServingSkew",),
    ),
)
"""Cases that need three windows to show."""

CASES = (*DRIFT, *QUALITY, *SIGNALS, *TELEMETRY, *LABELS)
