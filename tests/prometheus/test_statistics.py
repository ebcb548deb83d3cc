"""The PromQL of drift equals `drift_limits` on the same counts, and stays a number whatever happens."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prometheus import drift_limits
from tests.prometheus.cases import TIMING
from tests.prometheus.promtool import SAMPLE_S, Question, Run, Series, check
from tests.prometheus.traffic import EDGES, IDLE, Reference, Traffic, deployment

pytestmark = pytest.mark.stack

AT_S = 360
SAMPLES = 600 // SAMPLE_S
PER_WINDOW = TIMING.window_s // SAMPLE_S
RECORDED = '{__name__=~"(drift|input|slo|route|saturation|process):.+"}'


def _is(expr: str, expected: float) -> Question:
    return Question(f"abs({expr} - {expected!r}) < bool 1e-9", AT_S, [({}, 1)])


def _compared(name: str, age: list[int], city: list[int], trained: Reference) -> Iterator[Question]:
    """Every statistic and limit of one model against the oracle; age, city: rows from sample to sample."""
    floors: Mapping[str, float] = {statistic: value for (_, statistic), value in trained.floors.items()}
    current = [PER_WINDOW * rate for rate in age]
    for finding in drift_limits.numeric_findings(trained.age, current, floors):
        of = f'{{model_name="{name}", feature="age", statistic="{finding.statistic}"}}'
        yield _is(f"sum(drift:statistic{of})", finding.value)
        yield _is(f"sum(drift:limit{of})", finding.limit)
    changes = drift_limits.category_findings(list(trained.city.values()), [PER_WINDOW * rate for rate in city], floors)
    for label, finding in zip(trained.city, changes, strict=True):
        of = f'{{model_name="{name}", feature="city", category="{label}"}}'
        yield _is(f"sum(drift:statistic{of})", finding.value)
        yield _is(f"sum(drift:limit{of})", finding.limit)


def _random_models() -> Iterator[Run]:
    random = np.random.default_rng(5)
    for number in range(12):
        name = f"random-{number}"
        weights = random.dirichlet([2] * 10)
        age = random.multinomial(random.integers(5, 400), weights).tolist()
        trained = Reference(
            age=random.multinomial(random.integers(100, 100_000), random.dirichlet([3] * 10)).tolist(),
            city=dict(zip(("Bern", "Oslo", "Rome"), random.integers(100, 10_000, 3).tolist(), strict=True)),
            floors={("age", "ks"): float(random.uniform(0, 0.5)), ("age", "psi"): 0.3} if number % 2 else {},
            window_s=TIMING.window_s,
        )
        city = random.integers(10, 100, 3).tolist()
        traffic = replace(Traffic(), age=age, city=dict(zip(trained.city, city, strict=True)))
        yield Run(deployment(name, traffic, SAMPLES, trained), list(_compared(name, age, city, trained)))


def _joined_bins() -> Run:
    """Bins that the reference left empty, at both ends and inside."""
    trained = Reference(age=(0, 500, 0, 0, 1_500, 700, 0, 300, 0, 0))
    age = [1, 5, 2, 3, 40, 10, 4, 2, 6, 7]
    traffic = replace(Traffic(), age=age)
    return Run(deployment("joined", traffic, SAMPLES, trained), list(_compared("joined", age, [200, 120, 80], trained)))


def _replicas() -> Run:
    """Two replicas with unlike traffic are one distribution, against one reference."""
    trained = Reference()
    one, other = [9, 1, 3, 4, 5, 1, 0, 2, 3, 1], [0, 20, 3, 1, 5, 9, 9, 2, 3, 1]
    series = [
        *deployment("replicas", replace(Traffic(), age=one), SAMPLES, trained, instance="a"),
        *deployment("replicas", replace(Traffic(), age=other), SAMPLES, trained, instance="b"),
    ]
    both = [a + b for a, b in zip(one, other, strict=True)]
    return Run(series, list(_compared("replicas", both, [400, 240, 160], trained)))


def _versions() -> Run:
    """Two versions of a model whose edges differ, each against its own."""
    shifted = tuple(str(float(edge) + 0.5) for edge in EDGES)
    series = [
        *deployment("versions", Traffic(), SAMPLES, version="1", instance="a"),
        *deployment("versions", Traffic(), SAMPLES, Reference(edges=shifted), version="2", instance="b"),
    ]
    expr = 'max by (model_version) (drift:statistic{model_name="versions", feature="age"})'
    return Run(series, [Question(expr, AT_S, [({"model_version": version}, 0) for version in ("1", "2")]), *_quiet()])


def _reset(series: list[Series]) -> list[Series]:
    """Every counter starts again at the 30th sample, as after a restart."""
    return [(selector, f"{values.split('x')[0]}x29 {values.split('x')[0]}x40") for selector, values in series]


def _dead(series: list[Series]) -> list[Series]:
    """The process is gone after the 30th sample."""
    return [(selector, f"{values.split('x')[0]}x29 stale") for selector, values in series]


def _quiet(*moments_s: int) -> Iterator[Question]:
    """No alert fires or waits, and every recorded number is finite."""
    for at_s in moments_s or (60, 120, AT_S, 480):
        yield Question('count by (alertname) ({__name__="ALERTS", alertname!="DriftBlind"})', at_s)
        yield Question(f"count({RECORDED}) - count({RECORDED} > -1e300 < 1e300)", at_s, [({}, 0)])


def _robust() -> Iterator[Run]:
    usual = deployment("usual", Traffic(), SAMPLES)
    yield Run(usual, list(_quiet(30, 60, 90, 120, 300, 540)))
    yield Run(deployment("idle", IDLE, SAMPLES), list(_quiet()))
    yield Run(_reset(usual), list(_quiet(300, 330, 360, 480, 540)))
    alive = deployment("usual", Traffic(), SAMPLES, instance="b")
    yield Run([*_dead(usual), *alive], list(_quiet(300, 330, 360, 480, 540)))
    young = [(selector, f"_x20 {values}") for selector, values in usual]
    yield Run(young, list(_quiet(210, 240, 270, 300, 480)))
    yield Run([], [Question("count(ALERTS)", AT_S), Question(f"count({RECORDED})", AT_S)])
    constant = Reference(age=(100_000, *(0,) * 9))
    traffic = replace(Traffic(), age=(400, *(0,) * 9))
    yield Run(deployment("constant", traffic, SAMPLES, constant), list(_quiet()))


def test_promql_is_the_oracles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Statistics and limits of random counts, joined bins, replicas and versions are those of drift_limits."""
    runs = [*_random_models(), _joined_bins(), _replicas(), _versions()]
    check(tmp_path, TIMING, runs)
    with capsys.disabled():
        print(f"{sum(len(run.questions) for run in runs)} numbers compared with prometheus.drift_limits")


def test_nothing_that_is_not_a_fault_alerts_or_is_not_a_number(tmp_path: Path) -> None:
    """Fresh start, restart, death of a replica, no traffic, no series, a constant feature: no alert, no NaN, no Inf."""
    check(tmp_path, TIMING, _robust())
