"""The files of rules: newest output of the Python beside them, made of names that exist, each alert with its page."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus.external_metrics import EXTERNAL
from prometheus.windows import Windows, parse
from prometheus.write import FOLDER, WINDOW, main, render_all
from sightline_telemetry.instruments import INSTRUMENTS
from tests.prometheus.cases import CASES, LATER
from tests.stack.processes import binary

RUNBOOKS = FOLDER.parent / "runbooks"
FILES = sorted(FOLDER.glob("*.yaml"))
PAGES = sorted(RUNBOOKS.glob("*.md"))
OURS = render_all(Windows(parse(WINDOW)))

TARGET = frozenset({"job", "instance"})
RESOURCE = frozenset({"service_name", "service_instance_id", "service_version"})
MADE_BY_RULES = frozenset({"bin", "quantile"})
"""Labels that a query makes out of a value."""

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation")
PAGING = {"AvailabilityBudgetBurning", "LatencyBudgetBurning", "AccuracyBelowExpected", "AbsoluteErrorGrowing"}

# fmt: off  # a word a line would be a page
_WORDS = {
    "abs",
    "absent",
    "and",
    "avg",
    "avg_over_time",
    "bool",
    "by",
    "clamp_max",
    "clamp_min",
    "count",
    "count_values",
    "group",
    "group_left",
    "group_right",
    "histogram_quantile",
    "ignoring",
    "increase",
    "label_replace",
    "ln",
    "max",
    "max_over_time",
    "min",
    "min_over_time",
    "offset",
    "on",
    "or",
    "rate",
    "sqrt",
    "sum",
    "sum_over_time",
    "topk",
    "unless",
    "without",
}
# fmt: on


def _rules() -> Iterator[dict[str, Any]]:
    for file in FILES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


RULES = list(_rules())
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED: dict[str, set[str]] = {}
for _rule in RULES:
    if "record" in _rule:
        RECORDED.setdefault(_rule["record"], set()).update(_rule.get("labels", ()))


def _series() -> dict[str, frozenset[str]]:
    """Series in Prometheus -> labels it may have, of every instrument and of what is not ours."""
    known = {name: labels | TARGET for name, labels in EXTERNAL.items()}
    for instrument in INSTRUMENTS:
        labels = frozenset(attribute.replace(".", "_") for attribute in instrument.attributes) | TARGET | RESOURCE
        name = instrument.prometheus_name
        if instrument.kind == "histogram":
            known |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
        else:
            known[name] = labels
    return known


KNOWN = _series()
LABELS = frozenset[str]().union(*KNOWN.values(), *RECORDED.values(), MADE_BY_RULES)


def _names(promql: str) -> set[str]:
    """Names of series in a query: what is left when strings, labels, durations and words are taken away."""
    promql = re.sub(r'"[^"]*"', '""', promql)
    promql = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", promql)
    promql = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\boffset\s+\w+", " ", promql)
    return set(re.findall(r"(?<![\w:.])[a-zA-Z_][\w:]*", promql)) - _WORDS


def _used_labels(promql: str) -> set[str]:
    """Labels that a query matches or groups by."""
    promql = re.sub(r'"[^"]*"', '""', promql)
    grouped = re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)", promql)
    matched = [name for braces in re.findall(r"\{([^}]*)\}", promql) for name in re.findall(r"(\w+)\s*[=!]", braces)]
    return {*matched, *(name for names in grouped for name in re.findall(r"\w+", names))} - {"__name__"}


def _promql_of(page: Path) -> list[str]:
    return re.findall(r"^```promql\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _asked(text: str) -> list[str]:
    """Queries inside a template."""
    return [query.replace("%[1]q", '""').replace("%[2]q", '""') for query in re.findall(r'printf "(.*?)" \$', text)]


@pytest.mark.parametrize("name", OURS)
def test_files_are_what_the_python_says(name: str) -> None:
    """The file beside the Python is its newest output; `make rules` writes it."""
    assert (FOLDER / name).read_text(encoding="utf-8") == OURS[name]


def test_another_window_moves_every_duration(tmp_path: Path) -> None:
    """Rules of two minutes lie in a folder of their own, and no duration in them is longer than seven windows."""
    main(["--window", "2m", "--out", str(tmp_path)])
    texts = [file.read_text(encoding="utf-8") for file in sorted(tmp_path.glob("*.yaml"))]
    assert len(texts) == len(OURS)
    durations = {duration for text in texts for duration in re.findall(r"\[(\d+[dhms])\]|\bfor: (\w+)", text)}
    assert max(_seconds(a or b) for a, b in durations) == 7 * 120


def test_a_window_that_is_none_is_refused() -> None:
    """A window of words, or too short for a rate, is refused with what was asked for."""
    for wrong in ("soon", "1m", "-1h"):
        with pytest.raises(ValueError, match=re.escape(repr(wrong))):
            parse(wrong)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_name_what_exists(rule: dict[str, Any]) -> None:
    """Every series and label of a rule is an instrument's, a recorded one, or on the list of external ones."""
    for promql in [rule["expr"], *(query for text in rule.get("annotations", {}).values() for query in _asked(text))]:
        selected = {name for names in re.findall(r'__name__=~"([^"]*)"', promql) for name in names.split("|")}
        assert (_names(promql) | selected) - KNOWN.keys() - RECORDED.keys() == set()
        assert _used_labels(promql) - LABELS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runbooks_name_what_exists(page: Path) -> None:
    """Every query of a runbook asks for series and labels that exist."""
    queries = _promql_of(page)
    assert queries
    for promql in queries:
        assert _names(promql) - KNOWN.keys() - RECORDED.keys() == set()
        assert _used_labels(promql) - LABELS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runbooks_have_their_sections(page: Path) -> None:
    """A page bears the name of an alert, and says what it means, what it costs, where to look and what to do."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {page.stem}"
    assert page.stem in ALERTS
    assert tuple(line.removeprefix("## ") for line in lines if line.startswith("## ")) == SECTIONS


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_where_and_what_to_do(alert: str) -> None:
    """An alert has a runbook, a dashboard, a value beside a limit; only golden signals and labelled quality page."""
    rule = ALERTS[alert]
    assert (RUNBOOKS / f"{alert}.md").is_file()
    assert {"summary", "value", "limit", "dashboard", "runbook_url"} <= rule["annotations"].keys()
    assert rule["annotations"]["runbook_url"].endswith(f"/{alert}.md")
    assert rule["labels"]["severity"] == ("page" if alert in PAGING else "ticket")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_three_cases(alert: str) -> None:
    """Of each alert one case fires, and two at least do not: just below its limit, and without traffic or fault."""
    assert [case.name for case in (*CASES, *LATER) if alert in case.fires]
    assert len([case.name for case in (*CASES, *LATER) if alert in case.about]) >= 2


@pytest.mark.stack
def test_promtool_accepts_every_file() -> None:
    """`promtool check rules` finds no mistake and no duplicate; `check config` loads the whole."""
    commands = (["rules", *map(str, FILES)], ["config", str(FOLDER.parent / "prometheus.yml")])
    for what in commands:
        command = [str(binary("promtool")), "check", *what]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"d": 86_400, "h": 3_600, "m": 60, "s": 1}[duration[-1]]
