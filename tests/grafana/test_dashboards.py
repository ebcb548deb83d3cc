"""Dashboards as Grafana reads them: what they name exists, and a person finds words, units and ways on."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from grafana.bins import LABEL
from grafana.queries import DashboardQuery, Json, as_json, panels, queries
from grafana.write import DASHBOARDS, FOLDER, render
from prometheus.external_metrics import EXTERNAL
from sightline_telemetry.instruments import INSTRUMENTS, REQUEST_DURATION

ROOT = Path(__file__).parents[2]
MODELS: dict[str, Json] = {name: as_json(build()) for name, build in DASHBOARDS.items()}
EVERY_PANEL = [(name, panel) for name, model in MODELS.items() for panel in panels(model)]
EVERY_QUERY = [query for model in MODELS.values() for query in queries(model)]
PROMQL = [query for query in EVERY_QUERY if query.language == "promql"]

CLASSIC_SCHEMA = 42
"""The Classic model's version that Grafana 13.2 writes; an older one would be migrated in the browser."""

UNITS = {"short", "none", "s", "ns", "reqps", "cps", "rowsps", "percentunit", "bytes", "Bps"}
"""Those of Grafana's unit ids (grafana-data, valueFormats/categories.ts) that the dashboards use."""

BUILT_IN = {"__rate_interval", "__interval", "__range", "__from", "__to", "__url_time_range", "__value", "__all"}
RESOURCE = {"service_name", "service_version", "service_instance_id"}
"""Labels that prometheus.yml promotes from the resource; a test below holds it to that."""

_GROUPING = r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)"
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "s"}


def _of_panel(item: tuple[str, Json]) -> str:
    return f"{item[0]}-{item[1]['title']}"


@cache
def _recorded() -> dict[str, set[str]]:
    """Recorded series -> labels that its rule sets by itself."""
    rules: dict[str, set[str]] = {}
    for file in sorted((ROOT / "prometheus").rglob("rules/*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    rules.setdefault(rule["record"], set()).update(rule.get("labels", ()))
    return rules


@cache
def _ours() -> dict[str, set[str]]:
    """Series in Prometheus -> its labels, of every instrument."""
    labels: dict[str, set[str]] = {}
    for instrument in INSTRUMENTS:
        own = {attribute.replace(".", "_") for attribute in instrument.attributes} | RESOURCE
        if instrument.kind == "histogram":
            labels[f"{instrument.prometheus_name}_bucket"] = own | {"le"}
            labels |= {f"{instrument.prometheus_name}{suffix}": own for suffix in ("_count", "_sum")}
        else:
            labels[instrument.prometheus_name] = own
    return labels


def _selectors(promql: str) -> Iterator[tuple[str, set[str]]]:
    """Metric and the labels that it is matched by."""
    for metric, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", promql):
        yield metric, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_json_is_what_the_python_writes(name: str) -> None:
    """The file beside the Python is its newest output; `make dashboards` writes it."""
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == render(DASHBOARDS[name]())


def test_no_json_without_its_python() -> None:
    """Grafana shows no dashboard that has no Python any more."""
    assert {file.stem for file in FOLDER.iterdir()} == DASHBOARDS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_model_is_classic(name: str) -> None:
    """A provisioned file must be of the Classic model: no `spec`, a schemaVersion, a uid of Grafana's form, no id."""
    model = MODELS[name]
    assert {"spec", "apiVersion", "elements", "id"}.isdisjoint(model)
    assert model["schemaVersion"] == CLASSIC_SCHEMA
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", model["uid"])
    assert json.loads(json.dumps(model)) == model


def test_uids_and_titles_are_unique() -> None:
    """Two dashboards with one uid, or with one title in a folder, would replace each other."""
    for key in ("uid", "title"):
        assert max(Counter(model[key] for model in MODELS.values()).values()) == 1


@pytest.mark.parametrize("name", MODELS)
def test_panels_are_numbered_and_do_not_overlap(name: str) -> None:
    """Ids are unique, panels lie within 24 columns, and no two share a cell."""
    placed = [*MODELS[name]["panels"], *(inner for row in MODELS[name]["panels"] for inner in row.get("panels", ()))]
    assert len({panel["id"] for panel in placed}) == len(placed)
    for panel in placed:
        grid = panel["gridPos"]
        assert grid["x"] >= 0
        assert grid["x"] + grid["w"] <= 24
        assert min(grid["w"], grid["h"]) > 0
    for one, other in combinations([panel["gridPos"] for panel in MODELS[name]["panels"]], 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)


@pytest.mark.parametrize("item", EVERY_PANEL, ids=_of_panel)
def test_every_panel_says_what_it_shows(item: tuple[str, Json]) -> None:
    """A title, a description in a sentence, a known unit, and a link onward."""
    panel = item[1]
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert [link["url"] for link in panel["links"] if link["url"].startswith(("/d/sightline-", "/explore?"))]


@pytest.mark.parametrize("item", EVERY_PANEL, ids=_of_panel)
def test_every_target_names_a_provisioned_data_source(item: tuple[str, Json]) -> None:
    """Panels and targets ask a data source by the uid under which it is provisioned."""
    file = ROOT / "grafana/provisioning/datasources/datasources.yaml"
    provisioned = {source["uid"]: source["type"] for source in yaml.safe_load(file.read_text())["datasources"]}
    asked = [item[1]["datasource"], *(target["datasource"] for target in item[1]["targets"])]
    assert {(source["uid"], source["type"]) for source in asked} <= set(provisioned.items())
    references = [target["refId"] for target in item[1]["targets"]]
    assert len(set(references)) == len(references) > 0


@pytest.mark.parametrize("item", EVERY_PANEL, ids=_of_panel)
def test_latency_and_errors_have_dots(item: tuple[str, Json]) -> None:
    """Every graph and heatmap over request buckets asks for exemplars; no other query does, for there are none."""
    buckets = f"{REQUEST_DURATION.prometheus_name}_bucket"
    targets = [target for target in item[1]["targets"] if "expr" in target]
    dotted = [target["expr"] for target in targets if target.get("exemplar")]
    assert all(buckets in expr for expr in dotted)
    if item[1]["type"] in ("timeseries", "heatmap") and any(buckets in target["expr"] for target in targets):
        assert dotted


@pytest.mark.parametrize("name", MODELS)
def test_every_variable_that_is_used_is_defined(name: str) -> None:
    """A `$name` that Grafana does not know would be sent to the backend as it stands."""
    model = MODELS[name]
    defined = {variable["name"] for variable in model["templating"]["list"]}
    used = {found for text in _strings(model) for found in re.findall(r"\$\{?([A-Za-z_]\w*)", text)}
    assert used - defined - BUILT_IN == set()


def test_every_search_for_traces_stays_one_when_its_variables_are_filled_in() -> None:
    """A link to Explore holds a query in JSON, and each variable of ours says how several values are written in it."""
    links = {text for text in _strings(MODELS) if text.startswith("/explore?")}
    assert links
    for link in links:
        panes = parse_qs(urlsplit(link).query)["panes"][0]
        assert set(re.findall(r"\$\{?(\w+)\b(?!:pipe\})", panes)) == {"__from", "__to"}
        (query,) = json.loads(panes.replace("${service:pipe}", "a|b"))["a"]["queries"]
        assert query["query"].startswith('{ resource.service.name =~ "a|b" && ')


@pytest.mark.parametrize("name", MODELS)
def test_every_link_leads_to_a_dashboard_that_is(name: str) -> None:
    """Links by uid point at dashboards of this folder."""
    targets = {uid for text in _strings(MODELS[name]) for uid in re.findall(r"^/d/([\w-]+)", text)}
    assert targets - {model["uid"] for model in MODELS.values()} == set()


@pytest.mark.parametrize("query", PROMQL, ids=lambda query: f"{query.dashboard}-{query.panel}")
def test_every_metric_and_label_exists(query: DashboardQuery) -> None:
    """Each metric is an instrument of ours, a recorded series, or listed as external; each label is one of its own."""
    known, recorded = _ours(), _recorded()
    every_label = (
        {LABEL, "kind", "value"} | {"job"} | set().union(*known.values(), *recorded.values(), *EXTERNAL.values())
    )
    for metric, labels in _selectors(query.text):
        assert metric in known or metric in recorded or metric in EXTERNAL, metric
        assert labels <= known.get(metric, every_label), (metric, labels)
    for group in re.findall(_GROUPING, query.text):
        assert {label.strip() for label in group.split(",") if label.strip()} <= every_label, group


@pytest.mark.parametrize("query", PROMQL, ids=lambda query: f"{query.dashboard}-{query.panel}")
def test_no_metric_is_written_without_braces(query: DashboardQuery) -> None:
    """The test above finds metrics by their braces, so a bare name would slip through it."""
    rest = re.sub(r'"[^"]*"|\$\{?\w+\}?|\[[^\]]*\]', "", query.text)
    rest = re.sub(_GROUPING, "", re.sub(r"[a-zA-Z_:][\w:]*\s*\{[^}]*\}", "", rest))
    assert set(re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()\b", rest)) - _WORDS == set()
