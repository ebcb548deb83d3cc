"""Keys end to end: what each scope allows, and under which name its requests are counted and traced."""

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.service.access.process import bearer, write_keys
from tests.service.running import NO_TLS, Running, running

OPEN = ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/v1/models/small", "/v2/models/small/ready"]
OPEN += ["/v2/models/small/versions/7/ready"]
READ = ["/metrics", "/openapi.json", "/docs", f"/traces/{1:032x}", "/v1/models", "/v2", "/v2/models/small", "/"]
READ += ["/nothing", "/livez/", "//livez", "/LIVEZ", "/v2/models/small/versions/7"]
PREDICT = ["/predict/model", "/v1/models/small:predict", "/v2/models/small/infer", "/v2/models/small/versions/7/infer"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of three keys with one scope each, and one with all."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    return path, write_keys(path, app="predict", labeller="feedback", prometheus="read", ops="predict,feedback,read")


@pytest.fixture(scope="module")
def service(small_bundle: Path, keys: tuple[Path, dict[str, str]]) -> Iterator[Running]:
    """Serves the small model to those who have a key."""
    with running(small_bundle, api_keys=keys[0], allowed_hosts=("127.0.0.1",)) as found:
        yield found


@pytest.fixture
def row(small_service: Running) -> dict[str, object]:
    """A body that the model takes."""
    document = small_service.client.get("/openapi.json").json()
    example: dict[str, object] = document["components"]["schemas"]["PredictIn"]["example"]
    return example


def status(service: Running, method: str, path: str, key: str = "") -> int:
    """The status of a request with a key, or without one."""
    return service.client.request(method, path, headers=bearer(key) if key else {}).status_code


@pytest.mark.parametrize("path", OPEN)
def test_health_needs_no_key_and_no_host(service: Running, path: str) -> None:
    """An orchestrator has no key, and calls by address."""
    assert service.client.get(path).status_code == 200
    assert service.client.get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200


@pytest.mark.parametrize("path", READ)
def test_all_the_rest_needs_read(service: Running, keys: tuple[Path, dict[str, str]], path: str) -> None:
    """What is no prediction, no label and no health needs the scope `read`, whether it exists or not."""
    _, known = keys
    answers = [status(service, "GET", path, known[name] if name else "") for name in ("", "app", "labeller")]
    assert answers == [401, 403, 403]
    assert status(service, "GET", path, known["prometheus"]) in (200, 404, 405)


@pytest.mark.parametrize(("path", "method"), [*((path, "POST") for path in PREDICT), ("/predict/random", "GET")])
def test_predictions_need_predict(service: Running, keys: tuple[Path, dict[str, str]], path: str, method: str) -> None:
    """Every protocol of predictions needs the scope `predict`, the dummy model too."""
    _, known = keys
    answers = [status(service, method, path, known[name] if name else "") for name in ("", "prometheus", "labeller")]
    assert answers == [401, 403, 403]
    assert status(service, method, path, known["app"]) not in (401, 403)


def test_labels_need_feedback(service: Running, keys: tuple[Path, dict[str, str]]) -> None:
    """The scope `feedback` sends labels, and does nothing else."""
    _, known = keys
    answers = {name: status(service, "POST", "/feedback", key) for name, key in known.items()}
    assert answers == {"app": 403, "prometheus": 403, "labeller": 415, "ops": 415}


def test_a_refusal_says_how_to_bring_a_key(service: Running, keys: tuple[Path, dict[str, str]]) -> None:
    """A 401 has a challenge for programs and one for browsers; a 403 names the scope; both are problems."""
    refused = service.client.get("/metrics")
    assert refused.headers.get_list("www-authenticate") == [
        'Bearer realm="sightline"',
        'Basic realm="sightline", charset="UTF-8"',
    ]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:sightline:problem:unauthorized"
    assert refused.json()["trace_id"] == refused.headers["traceresponse"].split("-")[1]
    forbidden = service.client.get("/metrics", headers=bearer(keys[1]["app"]))
    assert forbidden.json()["type"] == "urn:sightline:problem:forbidden"
    assert 'scope="read"' in forbidden.headers["www-authenticate"]
    assert set(service.client.get("/v2").json()) == {"error"}


@pytest.mark.parametrize("bypass", [True, False])
def test_both_ways_of_a_prediction_ask_for_the_key(
    small_bundle: Path, keys: tuple[Path, dict[str, str]], row: dict[str, object], bypass: bool
) -> None:  # fmt: skip
    """With the bypass of ASGI and without it: no key, a wrong key, a key without the scope, the right one."""
    path, known = keys
    with running(small_bundle, api_keys=path, asgi_bypass=bypass) as service:
        assert (service.app.asgi_bypass is not None and bool(service.app.asgi_bypass.paths)) is bypass
        wrong = known["app"][:-1] + ("1" if known["app"][-1] == "0" else "0")
        sent = [{}, bearer(wrong), bearer(known["prometheus"]), bearer(known["app"])]
        answers = [service.client.post("/predict/model", json=row, headers=each) for each in sent]
        assert [answer.status_code for answer in answers] == [401, 401, 403, 200]
        with httpx.Client(auth=("anyone", known["app"]), verify=NO_TLS) as browser:
            assert browser.post(f"http://127.0.0.1:{service.port}/predict/model", json=row).status_code == 200


def test_the_name_of_the_client_is_on_counts_and_its_trace(
    service: Running, keys: tuple[Path, dict[str, str]], row: dict[str, object]
) -> None:
    """Rows and requests are counted by client, refused ones as `_OTHER`; the trace of a prediction names its client."""
    _, known = keys
    read = bearer(known["prometheus"])
    service.client.headers.update(read)
    try:
        before = service.samples("sightline_client_requests_total")
        rows_before = service.samples("ml_predictions_total")
        caller = {"traceparent": f"00-{7:032x}-{8:016x}-01"}
        assert service.client.post("/predict/model", json=row, headers=bearer(known["app"]) | caller).is_success
        assert service.client.post("/predict/model", json=row, headers={"authorization": "none"}).status_code == 401
        after = service.samples("sightline_client_requests_total")
        rows = service.samples("ml_predictions_total")
        trace = service.client.get(f"/traces/{7:032x}").json()
    finally:
        del service.client.headers["authorization"]
    grown = {(dict(key)["sightline_client"], dict(key)["status"]) for key in after if after[key] > before[key]}
    assert grown == {("app", "2xx"), ("_OTHER", "4xx"), ("prometheus", "2xx")}
    names = {dict(labels)["sightline_client"] for labels in rows}
    assert names == {"app", "labeller", "prometheus", "ops", "_OTHER"}
    assert {dict(key)["sightline_client"] for key in rows if rows[key] > rows_before[key]} == {"app"}
    spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
    attributes = {each["key"]: each["value"] for span in spans for each in span.get("attributes", ())}
    assert attributes["sightline.client"] == {"stringValue": "app"}


def test_without_keys_no_series_names_a_client(small_service: Running) -> None:
    """A service without keys has the series that it had."""
    assert small_service.samples("sightline_client_requests_total") == {}
    assert {name for labels in small_service.samples("ml_predictions_total") for name, _ in labels} == {
        "model_name",
        "model_version",
        "outcome",
    }


def test_a_client_beyond_fifty_is_counted_with_the_others(
    small_bundle: Path, tmp_path: Path, row: dict[str, object]
) -> None:
    """The first 50 names of the file have series, the rest shares one."""
    path = tmp_path / "keys"
    known = write_keys(path, **{f"client{number}": "predict,read" for number in range(52)})
    with running(small_bundle, api_keys=path) as service:
        for name in ("client49", "client50"):
            assert service.client.post("/predict/model", json=row, headers=bearer(known[name])).is_success
        service.client.headers.update(bearer(known["client0"]))
        samples = service.samples("ml_predictions_total")
    counted = {dict(labels)["sightline_client"]: value for labels, value in samples.items() if value}
    assert counted == {"client49": 1, "_OTHER": 1}
    assert len({dict(labels)["sightline_client"] for labels in samples}) == 51
