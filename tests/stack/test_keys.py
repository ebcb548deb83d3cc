"""The real Prometheus scrapes a service that asks for a key, with the configuration that the page shows."""

from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from sightline_service.diagnostics.clients import Prometheus
from tests.service.access.process import bearer, write_keys
from tests.service.running import running
from tests.stack.polling import poll_until
from tests.stack.processes import ROOT, Process, binary, free_port

pytestmark = pytest.mark.stack


def documented() -> dict[str, Any]:
    """The scrape configuration in docs/access.md."""
    text = (ROOT / "docs/access.md").read_text()
    section = text.partition("## Prometheus\n")[2].partition("\nWith HTTPS")[0]
    config: dict[str, Any] = yaml.safe_load(section)
    return config


def test_prometheus_scrapes_with_its_key(small_bundle: Path, tmp_path: Path) -> None:
    """The target is up, and the sum of a client's rows stands in Prometheus; with a key of another scope it is down."""
    known = write_keys(tmp_path / "keys", prometheus="read", shop="predict,read")
    for name, key in known.items():
        (tmp_path / name).write_text(key + "\n")
    other = write_keys(tmp_path / "unused", shop="predict")["shop"]
    (tmp_path / "wrong").write_text(other)
    with running(small_bundle, api_keys=tmp_path / "keys") as service:
        example = service.client.get("/openapi.json", headers=bearer(known["shop"])).json()
        row = example["components"]["schemas"]["PredictIn"]["example"]
        assert service.client.post("/predict/model", json=row, headers=bearer(known["shop"])).is_success
        config = documented() | {"global": {"scrape_interval": "1s"}}
        (job,) = config["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
        job["authorization"]["credentials_file"] = str(tmp_path / "prometheus")
        wrong = job | {"job_name": "wrong", "authorization": {"credentials_file": str(tmp_path / "wrong")}}
        config["scrape_configs"].append(wrong)
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        url = f"http://127.0.0.1:{free_port()}"
        command: list[str | Path] = [binary("prometheus"), f"--config.file={tmp_path / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={url.removeprefix('http://')}"]
        with Process("prometheus", command, f"{url}/-/ready", tmp_path / "log"), Prometheus(url) as prometheus:
            rows = 'sum(ml_predictions_total{job="sightline", sightline_client="shop"})'
            assert poll_until(lambda: prometheus.value(rows) == 1 and prometheus.value(rows), 60) == 1
            assert prometheus.value('up{job="sightline"}') == 1
            assert poll_until(lambda: prometheus.value('up{job="wrong"}') == 0, 60)
            targets = httpx.get(f"{url}/api/v1/targets").json()["data"]["activeTargets"]
    errors = {target["labels"]["job"]: target["lastError"] for target in targets}
    assert errors["sightline"] == ""
    assert "401" in errors["wrong"]
