"""Which hosts a service answers to, and what it says under another one."""

import socket
from pathlib import Path

import pytest

from tests.service.running import Running, running


def raw(service: Running, *lines: str) -> bytes:
    """The answer to a request with these lines, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/", "/nothing", "/predict/random"])
def test_a_page_that_rebinds_its_name_reads_nothing(small_bundle: Path, path: str) -> None:
    """Served on loopback, another name is refused; the names of loopback are not."""
    with running(small_bundle, host="127.0.0.1") as service:
        refused = service.client.get(path, headers={"host": "attacker.example"})
        assert (refused.status_code, refused.json()["type"]) == (421, "urn:sightline:problem:misdirected")
        for name in ("localhost", f"127.0.0.1:{service.port}", "[::1]:1"):
            assert service.client.get(path, headers={"host": name}).status_code != 421
        assert service.client.get("/livez", headers={"host": "attacker.example"}).status_code == 200


def test_a_prediction_past_asgi_is_refused_too(small_bundle: Path, small_service: Running) -> None:
    """The bypass asks for the host as ASGI does."""
    row = small_service.client.get("/openapi.json").json()["components"]["schemas"]["PredictIn"]["example"]
    with running(small_bundle, allowed_hosts=("models.example",)) as service:
        assert service.app.asgi_bypass is not None
        hosts = ["models.example:8000", "other.example", "models.example"]
        answers = [service.client.post("/predict/model", json=row, headers={"host": host}) for host in hosts]
        assert [answer.status_code for answer in answers] == [200, 421, 200]


def test_a_setting_takes_the_place_of_the_default(small_bundle: Path) -> None:
    """Named hosts are allowed on loopback too, and `*` allows all."""
    with running(small_bundle, host="127.0.0.1", allowed_hosts=("*.example.com",)) as service:
        names = {name: raw(service, "GET /docs HTTP/1.1", f"Host: {name}")[9:12] for name in ("a.example.com", "b")}
        assert names == {"a.example.com": b"200", "b": b"421"}
    with running(small_bundle, host="127.0.0.1", allowed_hosts=("*",)) as service:
        assert raw(service, "GET /docs HTTP/1.1", "Host: whatever")[9:12] == b"200"


@pytest.mark.parametrize("path", ["/livez/", "/docs/", "/metrics/", "/predict/model/", "//evil.example/livez/"])
def test_nothing_redirects_to_a_host_that_the_client_names(small_service: Running, path: str) -> None:
    """A path with a slash too many is not found; no answer has a location."""
    answer = raw(small_service, f"GET {path} HTTP/1.1", "Host: evil.example")
    assert answer[9:12] == b"404"
    assert b"location:" not in answer.lower()


@pytest.mark.parametrize("prefix", ["", "/models/small"])
@pytest.mark.parametrize("bypass", [True, False])
def test_a_prefix_at_a_proxy_may_be_removed_or_not(
    small_bundle: Path, small_service: Running, prefix: str, bypass: bool
) -> None:  # fmt: skip
    """With `--root-path`, routes answer with the prefix and without it, past ASGI and through it."""
    document = small_service.client.get("/openapi.json").json()
    row = document["components"]["schemas"]["PredictIn"]["example"]
    with running(small_bundle, root_path="/models/small", asgi_bypass=bypass) as service:
        assert service.client.post(f"{prefix}/predict/model", json=row).status_code == 200
        assert service.client.get(f"{prefix}/livez").status_code == 200
        assert service.client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/models/small"}]
        assert service.client.get(f"{prefix}/docs/assets/start.js").status_code == 200
        assert set(service.client.get(f"{prefix}/v2/models/other").json()) == {"error"}
        assert service.client.get("/models/smaller/livez").status_code == 404
        labels = [dict(labels) for labels in service.samples("http_server_request_duration_seconds_count")]
        assert {each["http_route"] for each in labels if each.get("http_response_status_code") == "200"} >= {
            "/predict/model",
            "/livez",
        }
