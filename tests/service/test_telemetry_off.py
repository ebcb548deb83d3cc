"""OTEL_SDK_DISABLED=true switches all telemetry off, and nothing else."""

import json
from pathlib import Path

import pytest

from tests.service.running import running

ROW = {"age": 40.0, "income": 1000.0, "city": "Bern", "plan": "free"}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("path", ["/predict/model", "/predict/model?long", "/v1/models/small:predict"])
def test_nothing_is_counted_and_everything_is_answered(
    small_bundle: Path, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers have their ids as usual; there are no series of requests or predictions, no log lines and no traces."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with running(small_bundle, request_log=True) as service:
        service.client.headers["traceparent"] = CALLER
        answer = service.client.post(path, json={"instances": [ROW]})
        refused = service.client.post(path, json={"instances": [{**ROW, "age": "old"}]})
        assert (answer.status_code, refused.status_code) == (200, 422 if "v1" not in path else 400)
        assert answer.headers["traceresponse"].split("-")[1] == CALLER.split("-")[1]
        (prediction,) = answer.json()["predictions"]
        label = {"prediction_id": prediction["prediction_id"], "actual": prediction["outcome"]}
        assert service.client.post("/feedback", json={"labels": [label]}).json()["counts"] == {"accepted": 1}
        assert service.client.get(f"/traces/{CALLER.split('-')[1]}").status_code == 404
        assert service.client.get("/predict/random").status_code == 200
        scraped = service.client.get("/metrics").text
    names = {line.split("{")[0] for line in scraped.splitlines() if not line.startswith("#")}
    assert not {name for name in names if name.startswith(("http_server", "ml_"))}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert not [line for line in lines if line["logger"] == "sightline_telemetry.requests"]
