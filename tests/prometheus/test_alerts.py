"""Each alert fires on what it is for, and on nothing else, over the rules that Prometheus loads."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from prometheus.write import FOLDER
from tests.prometheus.cases import AT_S, CASES, LATER, LATER_S, TIMING
from tests.prometheus.promtool import CASES_PER_RUN, PLACES, Annotated, Run, check, together
from tests.prometheus.texts import TEXTS, Text

pytestmark = pytest.mark.stack

CASE_OF = {case.name: case for case in (*CASES, *LATER)}
LATE = {case.name for case in LATER}
RULES = {
    rule["alert"]: rule
    for file in FOLDER.glob("*.yaml")
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def test_each_case_has_its_alerts_and_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every deployment of the cases has the alerts that it names, and no other alert fires for it."""
    check(tmp_path, TIMING, [*together(CASES, AT_S), *together(LATER, LATER_S)])
    with capsys.disabled():
        print(f"{len(CASES) + len(LATER)} deployments, each with its alerts and no others")


def test_every_alert_says_value_and_limit(tmp_path: Path) -> None:
    """The labels and all the texts of each alert are those written down, with numbers that a person can read."""
    assert {text.alert for text in TEXTS} == set(RULES)
    late = [text for text in TEXTS if text.case in LATE]
    soon = [text for text in TEXTS if text.case not in LATE]
    parts = [late, *(soon[first : first + CASES_PER_RUN] for first in range(0, len(soon), CASES_PER_RUN))]
    check(tmp_path, TIMING, [_run(texts) for texts in parts])


def _run(texts: Sequence[Text]) -> Run:
    series = [each for text in texts for each in CASE_OF[text.case].series]
    return Run(series, (), [_annotated(text) for text in texts])


def _annotated(text: Text) -> Annotated:
    own = ("job", "model_name") if "instance" in text.labels or "http_route" in text.labels else ("model_name",)
    rule = RULES[text.alert]
    templates: Mapping[str, str] = rule["annotations"]
    names = set(re.findall(r"\$labels\.(\w+)", " ".join(templates.values()) + rule["expr"]))
    labels = {"severity": rule["labels"]["severity"], **text.labels}
    if "model_name" in names:
        labels |= dict.fromkeys(own, text.case) | {"model_version": "1"}
    else:
        labels["job"] = text.case
    annotations = {
        "summary": _filled(templates["summary"], labels),
        "value": text.value,
        "limit": text.limit,
        "dashboard": _filled(templates["dashboard"], labels).replace("http://localhost:3000", PLACES.grafana),
        "runbook_url": f"{PLACES.runbooks}/{text.alert}.md",
    }
    return Annotated(text.alert, LATER_S if text.case in LATE else AT_S, labels, annotations)


def _filled(template: str, labels: Mapping[str, str]) -> str:
    """A template of labels alone; the one window in a summary is the test's, not production's."""
    optional = r"\{\{ with \$labels\.(\w+) \}\}(.*?)\{\{ \. \}\}\{\{ end \}\}"
    template = re.sub(optional, lambda match: match[2] + labels[match[1]] if match[1] in labels else "", template)
    filled = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], template)
    return filled.replace("a window of 1d", "a window of 4m")
