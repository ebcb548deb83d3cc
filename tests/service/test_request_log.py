"""Each request of a real service is one line with its trace id; a setting turns them off."""

import json
from pathlib import Path

import pytest

from tests.service.running import running

GOOD = {"age": 40.0, "income": 1000.0, "city": "Bern", "plan": "free"}


def test_one_line_a_request(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each answered request is logged once, with the trace id of the response and whether the trace was kept."""
    with running(small_bundle, request_log=True) as service:
        answers = [service.predict([row]) for row in (GOOD, GOOD, {**GOOD, "age": "old"})]
        sampled = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        service.client.get("/livez", headers=sampled)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    logged = [line for line in lines if line["logger"] == "sightline_telemetry.requests"]
    assert [line["message"] for line in logged] == [
        "POST /predict/model 200",
        "POST /predict/model 200",
        "POST /predict/model 422",
        "GET /livez 200",
    ]
    assert [line["trace_id"] for line in logged[:3]] == [answer.json()["trace_id"] for answer in answers]
    assert (logged[3]["trace_id"], logged[3]["trace_kept_because"]) == ("0af7651916cd43dd8448eb211c80319c", "asked")


def test_a_setting_turns_them_off(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the request log switched off no line is written about a request."""
    with running(small_bundle, request_log=False) as service:
        service.predict([GOOD])
    assert capsys.readouterr().out == ""
