"""A deployment as Prometheus sees it: one process, one model, its reference, and steady traffic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from tests.prometheus.promtool import Series, constant, growing, metric

EDGES = tuple(str(edge) for edge in range(1, 10))
SCORE_EDGES = tuple(f"{0.05 * number:.2f}".rstrip("0").rstrip(".") for number in range(1, 21))
CITIES = {"Bern": 50_000, "Oslo": 30_000, "Rome": 20_000}

EVEN = (40.0,) * 10
"""400 rows from sample to sample, evenly over the deciles: training once more."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What grows from sample to sample, by default as training looked: `age` by bin, `city`, score, outcome.

    requests: (status, quick ones, slow ones) of /predict/model; waits: (short, long) ones in the queue.
    """

    age: Sequence[float] = EVEN
    city: Mapping[str, float] = field(default_factory=lambda: {"Bern": 200, "Oslo": 120, "Rome": 80})
    score: Sequence[float] = (*(20.0,) * 20, 0.0)
    outcomes: Mapping[str, float] = field(default_factory=lambda: {"no": 200, "yes": 200})
    missing: float = 20
    imputed: float = 0
    low: float = 0
    rejected: float = 0
    requests: Sequence[tuple[str, float, float]] = (("200", 400, 0),)
    waits: tuple[float, float] = (400, 0)
    cores: float = 0.1
    memory: str = ""

    def less(self, factor: float) -> "Traffic":
        """The same traffic, so many times less of it."""
        return replace(
            self,
            age=[rate / factor for rate in self.age],
            city={name: rate / factor for name, rate in self.city.items()},
            score=[rate / factor for rate in self.score],
            outcomes={name: rate / factor for name, rate in self.outcomes.items()},
            missing=self.missing / factor,
            requests=[(status, quick / factor, slow / factor) for status, quick, slow in self.requests],
            waits=(self.waits[0] / factor, self.waits[1] / factor),
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """What training looked like: a hundred thousand rows, evenly over the deciles."""

    edges: Sequence[str] = EDGES
    age: Sequence[int] = (10_000,) * 10
    city: Mapping[str, int] = field(default_factory=lambda: dict(CITIES))
    singletons: int = 0
    floors: Mapping[tuple[str, str], float] = field(default_factory=dict)
    window_s: int = 0


IDLE = Traffic().less(1e12)


def deployment(
    name: str,
    traffic: Traffic,
    samples: int,
    reference: Reference | None = None,
    version: str = "1",
    instance: str = "a",
) -> list[Series]:
    """The series of one process; its job and its model bear the name."""
    trained = reference or Reference()
    process = {"job": name, "instance": instance}
    model = {"model_name": name, "model_version": version, **process}

    def grow(metric_name: str, rate: float, **labels: str) -> Series:
        return metric(metric_name, **model, **labels), growing(0 if rate < 1e-6 else rate, samples)

    def stay(metric_name: str, value: float, **labels: str) -> Series:
        return metric(metric_name, **model, **labels), constant(value, samples)

    age, city = {"feature": "age"}, {"feature": "city"}
    of_age = list(zip((*trained.edges, "+Inf"), accumulate(traffic.age), accumulate(trained.age), strict=True))
    of_score = list(zip((*SCORE_EDGES, "+Inf"), accumulate(traffic.score), strict=True))
    reference_score = list(zip((*SCORE_EDGES, "+Inf"), accumulate((*(5_000,) * 20, 0)), strict=True))
    categories = {**dict.fromkeys(trained.city, 0.0), "__unseen__": 0.0, "__missing__": 0.0, **traffic.city}
    return [
        *(grow("ml_feature_value_bucket", rate, **age, le=le) for le, rate, _ in of_age),
        *(stay("ml_reference_feature_value_bucket", count, **age, le=le) for le, _, count in of_age),
        *(grow("ml_prediction_score_bucket", rate, outcome="yes", le=le) for le, rate in of_score),
        *(stay("ml_reference_prediction_score_bucket", count, outcome="yes", le=le) for le, count in reference_score),
        *(grow("ml_feature_categories_total", rate, **city, category=label) for label, rate in categories.items()),
        *(
            stay("ml_reference_feature_categories_total", count, **city, category=label)
            for label, count in {**trained.city, "__unseen__": 0, "__missing__": 0}.items()
        ),
        *(grow("ml_predictions_total", rate, outcome=outcome) for outcome, rate in traffic.outcomes.items()),
        *(stay("ml_reference_predictions_total", 50_000, outcome=outcome) for outcome in traffic.outcomes),
        *(
            stay("ml_reference_drift_floor", value, feature=feature, statistic=statistic, window=f"{trained.window_s}s")
            for (feature, statistic), value in trained.floors.items()
        ),
        *(grow("ml_feature_missing_total", traffic.missing if f == "age" else 0, feature=f) for f in ("age", "city")),
        *(stay("ml_reference_feature_missing_total", 5_000 if f == "age" else 0, feature=f) for f in ("age", "city")),
        grow("ml_feature_imputed_total", traffic.imputed or traffic.missing, **age, method="mean"),
        grow("ml_feature_out_of_range_total", traffic.low, **age, side="low"),
        grow("ml_feature_out_of_range_total", 0, **age, side="high"),
        stay("ml_reference_feature_singletons", trained.singletons, **city),
        *_process(process, traffic, samples),
        *(stay("ml_queue_length", 0),),
        grow("ml_prediction_errors_total", traffic.rejected, reason="rejected"),
        grow("ml_queue_duration_seconds_bucket", traffic.waits[0], le="0.1"),
        grow("ml_queue_duration_seconds_bucket", sum(traffic.waits), le="0.25"),
        grow("ml_queue_duration_seconds_bucket", sum(traffic.waits), le="+Inf"),
        grow("ml_queue_duration_seconds_count", sum(traffic.waits)),
    ]


def _process(process: Mapping[str, str], traffic: Traffic, samples: int) -> list[Series]:
    series: list[Series] = []
    worker = {**process, "worker": "0"}
    for status, quick, slow in traffic.requests:
        labels = {**process, "http_route": "/predict/model", "http_response_status_code": status}
        name = "http_server_request_duration_seconds"
        for le, rate in (("0.25", quick), ("0.5", quick), ("+Inf", quick + slow)):
            series.append((metric(f"{name}_bucket", **labels, le=le), growing(_rate(rate), samples)))
        series.append((metric(f"{name}_count", **labels), growing(_rate(quick + slow), samples)))
    return [
        *series,
        (metric("process_cpu_time_seconds_total", **worker, type="user"), growing(10 * traffic.cores, samples)),
        (metric("process_memory_usage_bytes", **worker), traffic.memory or constant(300e6, samples)),
        (metric("sightline_faults_total", **process, place="middleware"), constant(0, samples)),
        (metric("up", **process), constant(1, samples)),
    ]


def _rate(rate: float) -> float:
    return 0 if rate < 1e-6 else rate
