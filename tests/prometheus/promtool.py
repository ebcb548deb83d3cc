"""Cases for `promtool test rules`: series as they would arrive, and what must fire."""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prometheus.rule import Places
from prometheus.windows import Windows, text
from prometheus.write import write
from tests.stack.processes import binary

SAMPLE_S = 10
"""Between two samples of a series: an export every ten seconds."""

CASES_PER_RUN = 9

PLACES = Places("http://grafana", "http://runbooks")
"""promtool knows no address of a Prometheus, so runbooks lie elsewhere than in production."""

Series = tuple[str, str]
"""A selector and promtool's notation of its values."""


@dataclass(frozen=True, slots=True)
class Case:
    """One deployment, whose job and model bear the case's name, and the alerts that it must have, no others."""

    name: str
    series: Sequence[Series]
    fires: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    """Alerts that this case shows not to fire: just below the limit, or without traffic."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query at a moment, and its answer: labels and value of each sample."""

    expr: str
    at_s: int
    answer: Sequence[tuple[Mapping[str, str], float]] = ()


@dataclass(frozen=True, slots=True)
class Annotated:
    """An alert that fires at a moment, with all its labels and annotations."""

    alert: str
    at_s: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)


def metric(name: str, **labels: str) -> str:
    """A series' name with its labels.

    >>> metric("up", job="a")
    'up{job="a"}'
    """
    matchers = (f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{', '.join(matchers)}}}"


def growing(per_sample: float, samples: int, start: float = 0) -> str:
    """A counter that grows by so much from sample to sample."""
    return f"{float(start)!r}+{float(per_sample)!r}x{samples}"


def constant(value: float, samples: int) -> str:
    """A gauge, or a reference that never changes."""
    return growing(0, samples, value)


def changing(before: Sequence[Series], after: Sequence[Series], at_sample: int) -> list[Series]:
    """Series that grow as `before` up to a sample, and as `after` from there on, as `growing` wrote both."""

    def rate(values: str) -> float:
        return float(values.partition("+")[2].partition("x")[0])

    changed = []
    for (selector, first), (_, then) in zip(before, after, strict=True):
        start = float(first.partition("+")[0])
        reached = start + rate(first) * (at_sample + 1)
        samples = int(then.rpartition("x")[2]) - at_sample - 1
        changed.append((selector, f"{growing(rate(first), at_sample, start)} {growing(rate(then), samples, reached)}"))
    return changed


def fires(case: Case, at_s: int) -> Question:
    """The alerts of a case at a moment, by name alone."""
    expr = f'count by (alertname) ({{__name__="ALERTS", alertstate="firing", model_name="{case.name}"}}'
    expr += f' or {{__name__="ALERTS", alertstate="firing", job="{case.name}"}}) ^ 0'
    return Question(expr, at_s, [({"alertname": alert}, 1) for alert in case.fires])


@dataclass(frozen=True, slots=True)
class Run:
    """Series that stand in one Prometheus, and what is asked of it."""

    series: Sequence[Series]
    questions: Sequence[Question] = ()
    annotated: Sequence[Annotated] = ()


def together(cases: Sequence[Case], at_s: int) -> list[Run]:
    """Runs of some cases each: promtool's engine holds ten thousand samples of one query, not more."""
    parts = [cases[first : first + CASES_PER_RUN] for first in range(0, len(cases), CASES_PER_RUN)]
    return [
        Run([each for case in part for each in case.series], [fires(case, at_s) for case in part]) for part in parts
    ]


def check(folder: Path, windows: Windows, runs: Iterable[Run]) -> None:
    """Runs promtool over the rules of these windows. Raises AssertionError with the output of promtool."""
    rules = write(folder / "rules", windows, PLACES)
    tests = [
        {
            "interval": text(SAMPLE_S),
            "input_series": [{"series": selector, "values": values} for selector, values in run.series],
            "promql_expr_test": [_question(question) for question in run.questions],
            "alert_rule_test": [_annotated(each) for each in run.annotated],
        }
        for run in runs
    ]
    file = folder / "cases.yaml"
    content: dict[str, Any] = {
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": text(windows.minute_s),
        "group_eval_order": [name for rule_file in rules for name in _groups(rule_file)],
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [binary("promtool"), "test", "rules", file], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _groups(file: Path) -> list[str]:
    """Groups are evaluated in any order otherwise, and what one reads of another is then a step old, or not."""
    return [group["name"] for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


def _question(question: Question) -> dict[str, Any]:
    samples = [
        {"labels": metric("", **labels) if labels else "{}", "value": value} for labels, value in question.answer
    ]
    return {"expr": question.expr, "eval_time": text(question.at_s), "exp_samples": samples}


def _annotated(each: Annotated) -> dict[str, Any]:
    alert = {"exp_labels": dict(each.labels), "exp_annotations": dict(each.annotations)}
    return {"alertname": each.alert, "eval_time": text(each.at_s), "exp_alerts": [alert]}
