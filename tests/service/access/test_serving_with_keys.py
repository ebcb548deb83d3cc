"""Whole services with keys and certificates: every worker, the port for scrapes, the commands that ask them."""

import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from sightline_service.diagnostics.credentials import Credentials
from sightline_telemetry.access.key_file import make_key
from tests.service.access.process import SIGHTLINE, bearer, served, write_certificate, write_keys
from tests.service.running import NO_TLS
from tests.stack.polling import poll_until

pytestmark = pytest.mark.slow


def get(port: int, path: str, key: str = "", **headers: str) -> httpx.Response:
    """Requests a path over a connection of its own: any worker may take it."""
    sent = (bearer(key) if key else {}) | headers
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=sent, verify=NO_TLS, timeout=15)


def test_all_workers_and_the_port_for_scrapes_follow_the_file(small_bundle: Path, tmp_path: Path) -> None:
    """A key that is removed opens no door of any process within seconds, and a new one opens all of them."""
    path = tmp_path / "keys"
    old = write_keys(path, prometheus="read", app="predict")
    with served(small_bundle, tmp_path, "--workers", "2", SIGHTLINE_API_KEYS=str(path)) as service:
        both = (service.port, service.metrics_port)
        assert [get(port, "/metrics").status_code for port in both] == [401, 401]
        assert [get(port, "/metrics", old["app"]).status_code for port in both] == [403, 403]
        assert [get(port, "/metrics", old["prometheus"]).status_code for port in both] == [200, 200]
        assert [get(port, "/metrics", old["prometheus"], host="evil.example").status_code for port in both] == [
            421,
            421,
        ]
        key, line = make_key("new", ["read"])
        path.write_text(line)

        def is_followed() -> bool:
            answers = [
                get(port, "/metrics", each).status_code for port in both * 8 for each in (key, old["prometheus"])
            ]
            return answers == [200, 401] * 16

        assert poll_until(is_followed, 20)
        assert "sightline_client" in get(service.port, "/metrics", key).text


def test_a_worker_that_starts_again_counts_as_the_others(small_bundle: Path, tmp_path: Path) -> None:
    """A file of keys that has other names by now keeps no worker from starting again."""
    path = tmp_path / "keys"
    write_keys(path, first="read")
    with served(small_bundle, tmp_path, SIGHTLINE_API_KEYS=str(path)) as service:
        known = write_keys(path, second="predict,read", third="read")
        (worker,) = [
            child
            for child in psutil.Process(service.process.pid).children()
            if "sightline_service.worker" in child.cmdline()
        ]
        worker.kill()

        def text() -> str:
            try:
                answer = get(service.port, "/metrics", known["second"])
            except httpx.TransportError:
                return ""
            return answer.text if answer.is_success else ""

        scraped = poll_until(text, 60)
        assert 'sightline_client_requests_total{sightline_client="first"' in scraped
        assert 'sightline_client="second"' not in scraped


def test_https_takes_a_new_certificate_without_a_restart(small_bundle: Path, tmp_path: Path) -> None:
    """Both ports speak HTTPS with the certificate that is in the files now."""
    cert, key = write_certificate(tmp_path, "first")
    options = ["--tls-cert", str(cert), "--tls-key", str(key)]

    def subject(port: int) -> str:
        """The name in the certificate, which is verified by the file."""
        trusting = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(f"https://127.0.0.1:{port}/metrics", verify=trusting, timeout=15).is_success
        with (
            socket.create_connection(("127.0.0.1", port), timeout=15) as connection,
            trusting.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
        ):
            subjects: Any = (secured.getpeercert() or {})["subject"]
            return str(dict(part[0] for part in subjects)["commonName"])

    with served(small_bundle, tmp_path, *options, is_tls=True) as service:
        assert {subject(port) for port in (service.port, service.metrics_port)} == {"first"}
        with pytest.raises(httpx.TransportError):
            get(service.port, "/livez")
        write_certificate(tmp_path, "second")

        def is_exchanged() -> bool:
            try:
                return {subject(port) for port in (service.port, service.metrics_port)} == {"second"}
            except (httpx.TransportError, OSError):  # the old certificate is not verified by the new file
                return False

        assert poll_until(is_exchanged, 20)


def test_the_commands_bring_a_key_and_trust_a_certificate(small_bundle: Path, tmp_path: Path) -> None:
    """`doctor` passes its first station with the key's file and `--ca`, and names what is missing without them."""
    cert, key = write_certificate(tmp_path)
    path, key_file = tmp_path / "keys", tmp_path / "key"
    key_file.write_text(write_keys(path, doctor="predict,read")["doctor"] + "\n")
    options = ["--observer", "off", "--tls-cert", str(cert), "--tls-key", str(key)]
    with served(small_bundle, tmp_path, *options, is_tls=True, SIGHTLINE_API_KEYS=str(path)) as service:
        command = [str(SIGHTLINE), "doctor", "--service", f"https://127.0.0.1:{service.port}", "--patience", "1"]
        command += ["--prometheus", "http://127.0.0.1:9", "--traces", "http://127.0.0.1:9"]

        def said(*more: str, **variables: str) -> str:
            environment = {"PATH": os.environ["PATH"], "COLUMNS": "300", **variables}
            ended = subprocess.run([*command, *more], check=False, capture_output=True, text=True, env=environment)
            return ended.stdout

        assert "small 7 answered" in said("--ca", str(cert), "--key-file", str(key_file))
        assert "small 7 answered" in said("--ca", str(cert), SIGHTLINE_API_KEY=key_file.read_text())
        assert "name its file by --key-file" in said("--ca", str(cert))
        assert "CERTIFICATE_VERIFY_FAILED" in said("--key-file", str(key_file))


def test_a_key_does_not_follow_a_redirect() -> None:
    """A client of ours takes a redirect for the answer that it is, and shows no key."""
    assert Credentials("sl_a_secret").client_options()["follow_redirects"] is False
    assert "sl_a_secret" not in repr(Credentials("sl_a_secret"))
