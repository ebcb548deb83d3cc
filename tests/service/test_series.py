"""What a client chooses makes no series."""

import socket

import pytest

from tests.service.running import Running


def series(service: Running) -> set[str]:
    """Names and labels of all that `/metrics` shows."""
    lines = service.client.get("/metrics").raise_for_status().text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("lines", ["", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: ws\r\n"])
def test_methods_paths_versions_and_schemes_make_no_series(small_service: Running, version: str, lines: str) -> None:
    """Requests with any method, path, version and forwarded scheme are counted in series that are there already."""
    series(small_service)  # the first scrape makes those of the SDK about scrapes
    before, n_other = series(small_service), others(small_service)
    for method in ("GET", "PUT", "PROPFIND", "BREW", "OPTIONS", "TRACE", "DELETE"):
        for path in ("/livez", "/nope/1", "/v1/models/other:predict", "/predict/model"):
            with socket.create_connection(("127.0.0.1", small_service.port), timeout=10) as connection:
                head = f"{method} {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
                connection.sendall(head.encode())
                while connection.recv(65536):
                    pass
    assert series(small_service) == before
    assert others(small_service) - n_other >= 20


def others(service: Running) -> int:
    """How many requests were counted in the series that all others share."""
    samples = service.samples("http_server_request_duration_seconds_count")
    return int(sum(value for labels, value in samples.items() if ("http_request_method", "_OTHER") in labels))
