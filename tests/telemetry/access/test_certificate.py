"""Certificates and private keys: which files are refused, and what a changed pair does."""

import os
import subprocess
from pathlib import Path

import pytest

from sightline_telemetry.access.certificate import Certificate
from sightline_telemetry.access.watched_file import UnusableFileError, check_private
from tests.service.access.process import write_certificate


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (0o600, ""),
        (0o400, ""),
        (0o440, ""),
        (0o640, ""),
        (0o644, "may be read by others: chmod o-r"),
        (0o444, "may be read by others"),
        (0o660, "may be written by others than its owner: chmod go-w,o-r"),
        (0o602, "may be written by others than its owner"),
    ],
)
def test_a_private_key_is_private(tmp_path: Path, mode: int, reason: str) -> None:
    """Its owner may do all, its group may read it, and others nothing."""
    key = tmp_path / "key.pem"
    key.touch()
    key.chmod(mode)
    if reason:
        with pytest.raises(UnusableFileError, match=f"the private key .*key.pem {reason}"):
            check_private(key, "the private key")
    else:
        check_private(key, "the private key")


def test_a_read_only_mount_may_show_its_keys() -> None:
    """Kubernetes mounts Secrets for all to read, and read-only; /proc and /sys stand for such a mount here."""
    mounts = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines() if " ro," in line]
    files = (file for mount in mounts if mount.is_dir() for file in mount.iterdir() if file.is_file())
    shown = next((file for file in files if os.access(file, os.R_OK)), None)
    if shown is None:
        pytest.skip("nothing is mounted read-only here")
    check_private(shown, "the private key")


def test_files_that_are_no_pair_are_refused_with_one_sentence(tmp_path: Path) -> None:
    """The error names both files and what they have to be; a key with a password asks nothing on the terminal."""
    cert, key = write_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = write_certificate(tmp_path / "other")
    with pytest.raises(UnusableFileError, match=r"cannot be used .*: both must be PEM"):
        Certificate(cert, other)
    with pytest.raises(UnusableFileError, match=r"cannot be used .*: both must be PEM"):
        Certificate(key, key)
    with pytest.raises(UnusableFileError, match=r"the certificate .*nothing cannot be read: No such file"):
        Certificate(tmp_path / "nothing", key)
    with pytest.raises(UnusableFileError, match=r"the private key .*nothing cannot be read: No such file"):
        Certificate(cert, tmp_path / "nothing")
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    locked.chmod(0o600)
    with pytest.raises(UnusableFileError, match="the key without a password"):
        Certificate(cert, locked)


def test_half_a_new_pair_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the two files are exchanged, connections have the old pair; then they have the new one."""
    cert, key = write_certificate(tmp_path)
    (tmp_path / "new").mkdir()
    new_cert, new_key = write_certificate(tmp_path / "new")
    certificate = Certificate(cert, key)
    certificate.context()
    cert.write_bytes(new_cert.read_bytes())
    certificate.look()
    assert "the certificate stays as it was" in caplog.text
    caplog.clear()
    key.write_bytes(new_key.read_bytes())
    certificate.look()
    certificate.look()
    assert [record.levelname for record in caplog.records] == []
    assert Certificate(cert, key).cert == cert
