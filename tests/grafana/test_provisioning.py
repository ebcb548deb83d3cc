"""Grafana's provisioning: what the files name is there, and says the same as the service and Prometheus."""

import re
from pathlib import Path
from typing import Any

import yaml

from grafana.write import FOLDER

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
SOURCES_TEXT = (PROVISIONING / "datasources" / "datasources.yaml").read_text()
SOURCES: dict[str, dict[str, Any]] = {source["uid"]: source for source in yaml.safe_load(SOURCES_TEXT)["datasources"]}


def test_data_sources_have_fixed_uids() -> None:
    """Dashboards and links name the two data sources by these uids."""
    assert {uid: source["type"] for uid, source in SOURCES.items()} == {"prometheus": "prometheus", "tempo": "tempo"}


def test_exemplars_lead_to_tempo() -> None:
    """The label that OTLP gives an exemplar's trace is a link to the trace store."""
    (destination,) = SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (destination["name"], destination["datasourceUid"]) == ("trace_id", "tempo")


def test_spans_lead_back_to_metrics() -> None:
    """Tags of our spans become the labels that they have in Prometheus."""
    ways = SOURCES["tempo"]["jsonData"]["tracesToMetrics"]
    assert ways["datasourceUid"] == "prometheus"
    assert all(tag["value"] == tag["key"].replace(".", "_") for tag in ways["tags"])
    assert all("$$__tags" in query["query"] for query in ways["queries"])


def test_dollars_are_escaped() -> None:
    """A single dollar is an environment variable of Grafana's; those that we mean start with GRAFANA_."""
    singles = re.findall(r"(?<!\$)\$(?!\$)\{?(\w+)", re.sub(r"^\s*#.*$", "", SOURCES_TEXT, flags=re.MULTILINE))
    assert set(singles) == {"GRAFANA_PROMETHEUS_URL", "GRAFANA_TEMPO_URL"}


def test_time_interval_is_the_export_interval() -> None:
    """Grafana's shortest rate window follows from how often metrics arrive."""
    seconds = int(SOURCES["prometheus"]["jsonData"]["timeInterval"].removesuffix("s"))
    (default_ms,) = re.findall(
        r'"OTEL_METRIC_EXPORT_INTERVAL": "(\d+)"',
        (ROOT / "telemetry/sightline_telemetry/export/exporters.py").read_text(),
    )
    assert seconds * 1000 == int(default_ms)


def test_prometheus_promotes_what_the_queries_join_by() -> None:
    """The resource attributes that dashboards use are labels of every series."""
    promoted = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["otlp"][
        "promote_resource_attributes"
    ]
    assert {"service.name", "service.version", "service.instance.id"} <= set(promoted)


def test_dashboards_are_read_from_where_compose_mounts_them() -> None:
    """The provider's path is the mount of grafana/dashboards, which holds JSON alone."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "dashboards.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert {file.suffix for file in FOLDER.iterdir()} == {".json"}
