"""A real `sightline serve` with keys, certificates and whatever else its environment and options say."""

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from sightline_telemetry.access.key_file import make_key
from tests.stack.polling import poll_until

SIGHTLINE = Path(sys.executable).with_name("sightline")
ROW = {"instances": [{"age": 40.0, "city": "Oslo"}]}
ANY_CERTIFICATE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANY_CERTIFICATE.check_hostname = False
ANY_CERTIFICATE.verify_mode = ssl.CERT_NONE
COVERAGE = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@dataclass(frozen=True)
class Served:
    """A running service: its process, its ports, and the file of its output."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    log: Path


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def write_keys(path: Path, **scopes: str) -> dict[str, str]:
    """Writes a file of keys, each with one scope or several with commas; returns the keys by name."""
    made = {name: make_key(name, given.split(",")) for name, given in scopes.items()}
    path.write_text("".join(line for _, line in made.values()))
    return {name: key for name, (key, _) in made.items()}


def bearer(key: str) -> dict[str, str]:
    """The header that brings a key."""
    return {"authorization": f"Bearer {key}"}


def write_certificate(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """Writes a certificate that signs itself for 127.0.0.1, and its key; name: its subject."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -addext"
    options = ["subjectAltName=IP:127.0.0.1", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    key.chmod(0o600)
    return cert, key


@contextmanager
def served(bundle: Path, folder: Path, *options: str, is_tls: bool = False, **environment: str) -> Iterator[Served]:
    """Runs a service until the block ends; its liveness needs no key."""
    port, metrics_port, log = free_port(), free_port(), folder / "log"
    command = [str(SIGHTLINE), "serve", str(bundle), "--port", str(port), *options]
    if "off" not in options:
        command += ["--metrics-port", str(metrics_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={"PATH": os.environ["PATH"], **COVERAGE, **environment}
        )

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            url = f"{'https' if is_tls else 'http'}://127.0.0.1:{port}/readyz"
            return httpx.get(url, verify=ANY_CERTIFICATE, timeout=15).is_success
        except httpx.TransportError:
            return False

    try:
        poll_until(is_ready, 60)
        yield Served(process, port, metrics_port, log)
    finally:
        process.terminate()
        try:
            assert process.wait(timeout=20) in (0, -signal.SIGTERM)  # uvicorn alone ends by the signal
        finally:
            process.kill()
            process.wait()
