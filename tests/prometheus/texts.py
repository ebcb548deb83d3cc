"""What alerts say of the first case that they fire on: the value that was measured, and the limit beside it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """One alert, the case that it fires on, its labels besides the case's own, and its two numbers in words."""

    alert: str
    case: str
    labels: Mapping[str, str]
    value: str
    limit: str


TEXTS = (
    Text(
        "FeatureDrift",
        "drift-halves",
        {"feature": "age"},
        "ks 0.105",
        "ks 0.100; no floor learnt in training: significant if rows are independent",
    ),
    Text("PredictionDrift", "predictions", {}, "share 0.035", "share 0.030; significant if rows are independent"),
    Text("DriftBlind", "blind", {}, "2 distributions with too few rows", "50% of 2; each needs 10 rows per bin"),
    Text(
        "FeatureMissing",
        "missing",
        {"feature": "age"},
        "3.25% of the rows more than in training, where it was 5%",
        "3% of the rows more",
    ),
    Text(
        "FeatureImputed", "imputed", {"feature": "age"}, "3.25% of the rows beyond those that miss it", "3% of the rows"
    ),
    Text(
        "FeatureUnseen",
        "unseen",
        {"feature": "city", "kind": "unseen"},
        "0.249% of the rows",
        "0.2% of the rows beyond the 0.1 rows that chance explains",
    ),
    Text(
        "FeatureOutOfRange",
        "outside",
        {"feature": "age", "kind": "out_of_range", "side": "low"},
        "1.124% of the rows",
        "1% of the rows",
    ),
    Text("RequestsRejected", "rejected", {}, "5.882% of the requests", "5% of the requests"),
    Text(
        "AvailabilityBudgetBurning",
        "failing",
        {"http_route": "/predict/model", "slo": "availability"},
        "a burn rate of 20",
        "14.4 over 30s, or 6 over 1m",
    ),
    Text(
        "AvailabilityBudgetLeaking",
        "failing-below",
        {"http_route": "/predict/model", "slo": "availability"},
        "a burn rate of 5",
        "1 over 12m",
    ),
    Text(
        "LatencyBudgetBurning",
        "slow",
        {"http_route": "/predict/model", "slo": "latency"},
        "a burn rate of 15",
        "14.4 over 30s, or 6 over 1m",
    ),
    Text(
        "LatencyBudgetLeaking",
        "slow-below",
        {"http_route": "/predict/model", "slo": "latency"},
        "a burn rate of 5",
        "1 over 12m",
    ),
    Text("QueueSaturated", "queue", {}, "one request in twenty waits longer than 125ms", "0.1 s"),
    Text(
        "CpuSaturated",
        "cpu",
        {"instance": "a", "worker": "0"},
        "0.95 cores",
        "0.9 cores while requests wait longer than 0.1 s",
    ),
    Text(
        "MemoryGrowing",
        "memory",
        {"instance": "a", "worker": "0"},
        "2 times the memory of a window ago",
        "1.5 times, and 256 MiB more",
    ),
    Text("WorkersDying", "deaths", {"instance": "a", "signal": "SIGSEGV"}, "7 workers in 30s", "none"),
    Text("SpansDropped", "spans-dropped", {"instance": "a"}, "7 spans in 30s", "none"),
    Text("ExportsFailing", "exports-failing", {"instance": "a"}, "3 spans or data points in 30s", "none"),
    Text("TelemetryFaults", "faults", {"instance": "a", "place": "export"}, "3 faults in 30s", "none"),
    Text(
        "CollectorQueueFilling",
        "queue-fills",
        {"data_type": "metrics", "exporter": "otlp_http/x", "instance": "c"},
        "51% of its capacity",
        "50% of its capacity",
    ),
    Text(
        "CollectorExportsFailing",
        "nothing-sent",
        {"exporter": "otlp_http/x", "instance": "c"},
        "3 batches wait and none was sent in 30s, or so many items were lost",
        "none",
    ),
    Text("TargetDown", "target-down", {"instance": "a"}, "up is 0", "up is 1"),
    Text("ServiceSilent", "silent", {}, "0 processes", "1 reported within 4m"),
    Text(
        "AccuracyBelowExpected",
        "worse",
        {"window": "4m"},
        "75% of the labelled predictions are right, 10% fewer than expected",
        "7.275% fewer than the 85% that it expects of itself",
    ),
    Text("AbsoluteErrorGrowing", "errs-more", {}, "the mean absolute error is 1.298 times that of 28m", "1.25 times"),
    Text("LabelCoverageLow", "uncovered", {}, "9.583% of the predictions got a label", "50% of the usual 30.67%"),
    Text(
        "TrainingServingSkew",
        "skew",
        {"feature": "age"},
        "at its best 1.05 times its limit",
        "once below its limit in 28m, or since the version is served",
    ),
)
