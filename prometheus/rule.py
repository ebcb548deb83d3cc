"""Rules before they are YAML: what is recorded, what alerts, and the groups they are evaluated in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import dedent, indent, wrap
from typing import Literal

from prometheus.windows import text

Severity = Literal["page", "ticket"]

_WIDTH = 118


@dataclass(frozen=True, slots=True)
class Record:
    """A series that Prometheus computes. why: what is odd about the query."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that a person has to know of.

    summary: one sentence; value, limit: what was measured and what it should not exceed; all three are templates.
    dashboard: the path of the dashboard that shows it, with its variables.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    value: str
    limit: str
    dashboard: str
    hold_s: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, one after the other, every so many seconds.

    A later rule reads what an earlier one has recorded at the same moment.
    """

    name: str
    interval_s: int
    rules: Sequence[Record | Alert]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the links of an alert lead: Grafana, and the folder of the runbooks."""

    grafana: str
    runbooks: str


def render(head: str, groups: Sequence[Group], places: Places) -> str:
    """One file of rules, with `head` as the comment that it opens with."""
    lines = [*_comment(head, ""), "groups:"]
    for group in groups:
        lines += [f"  - name: {group.name}", f"    interval: {text(group.interval_s)}", "    rules:"]
        for rule in group.rules:
            lines += _comment(rule.why, " " * 6)
            lines += _record(rule) if isinstance(rule, Record) else _alert(rule, places)
    return "\n".join(lines) + "\n"


def _record(rule: Record) -> list[str]:
    lines = [f"      - record: {rule.name}", *_expr(rule.expr)]
    if rule.labels:
        lines += ["        labels:", *(f"          {name}: {_quoted(value)}" for name, value in rule.labels.items())]
    return lines


def _alert(rule: Alert, places: Places) -> list[str]:
    annotations = {
        "summary": rule.summary,
        "value": rule.value,
        "limit": rule.limit,
        "dashboard": f"{places.grafana}{rule.dashboard}",
        "runbook_url": f"{places.runbooks}/{rule.name}.md",
    }
    return [
        f"      - alert: {rule.name}",
        *_expr(rule.expr),
        *([f"        for: {text(rule.hold_s)}"] if rule.hold_s else []),
        "        labels:",
        f"          severity: {rule.severity}",
        "        annotations:",
        *(f"          {name}: {_quoted(value)}" for name, value in annotations.items()),
    ]


def _expr(expr: str) -> list[str]:
    return ["        expr: |", *indent(dedent(expr).strip(), " " * 10).splitlines()]


def _quoted(value: str) -> str:
    """A YAML string in single quotes, where only the quote itself is special."""
    return "'" + value.replace("'", "''") + "'"


def _comment(words: str, margin: str) -> list[str]:
    width = _WIDTH - len(margin) - 2
    return [f"{margin}# {line}" for part in words.splitlines() for line in wrap(part, width)]
