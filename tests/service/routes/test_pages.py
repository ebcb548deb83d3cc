"""Pages for people: what they load, and what they allow themselves to load."""

import re
from pathlib import Path

import pytest

from tests.service.access.process import bearer, write_keys
from tests.service.running import Running, running


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_any_other_host(small_service: Running, path: str) -> None:
    """All that a page links to is relative, and there; the policy allows nothing else."""
    page = small_service.client.get(path)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert "'unsafe-eval'" not in policy
    assert "script-src 'self' 'unsafe-inline'" not in policy
    links = [link for link in re.findall(r'(?:href|src)="([^"]*)"', page.text) if link != "data:,"]
    assert links
    for link in links:
        assert not link.startswith(("/", "http")), link
        assert small_service.client.get(f"/{link}").status_code == 200
    assert small_service.client.head(path).status_code == 200


def test_the_page_of_the_api_has_no_script_of_its_own(small_service: Running) -> None:
    """Scripts come from files of this service: the policy forbids scripts in the page."""
    text = small_service.client.get("/docs").text
    assert re.findall(r"<script[^>]*>(.*?)</script>", text) == ["", ""]
    assert "SwaggerUIBundle" in small_service.client.get("/docs/assets/swagger-ui-bundle.js").text
    assert small_service.client.get("/docs/assets/../core.py").status_code == 404
    assert small_service.client.get("/docs/assets/redoc.standalone.js").status_code == 404


def test_with_keys_the_document_says_where_one_is_needed(small_bundle: Path, tmp_path: Path) -> None:
    """Health needs none; all other operations document both schemes and both refusals, whose series exist at 0."""
    known = write_keys(tmp_path / "keys", ops="read")
    with running(small_bundle, api_keys=tmp_path / "keys") as service:
        service.client.headers.update(bearer(known["ops"]))
        document = service.client.get("/openapi.json").json()
        samples = service.samples("http_server_request_duration_seconds_count")
    assert set(document["components"]["securitySchemes"]) == {"key", "password"}
    operations = {path: next(iter(each.values())) for path, each in document["paths"].items()}
    assert {path for path, each in operations.items() if "security" not in each} == {
        "/livez",
        "/readyz",
        "/v1/models/{name}",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/versions/{version}/ready",
    }
    assert {"401", "403"} <= set(operations["/predict/model"]["responses"])
    refused = {"http_route": "/predict/model", "http_response_status_code": "401"}
    assert [value for labels, value in samples.items() if refused.items() <= dict(labels).items()] == [0]
