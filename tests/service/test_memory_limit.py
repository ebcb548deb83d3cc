"""The limit of memory is found in cgroups of both versions, and the observer process is off below 384 MB."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline_service import serving
from sightline_service.cli import cli
from sightline_service.errors import SettingsError
from sightline_service.memory_limit import memory_limit_bytes

MB = 1 << 20


def write(folder: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Writes the files of cgroups; returns their root and the file that names the own cgroup."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "fs", folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"memory.max": f"{256 * MB}\n"}, 256 * MB),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{300 * MB}\n"}, 300 * MB),
        ("0::/a/b\n", {"a/b/memory.max": f"{100 * MB}\n", "a/memory.max": f"{300 * MB}\n"}, 100 * MB),
        ("0::/gone\n", {"memory.max": f"{128 * MB}\n"}, 128 * MB),
        ("4:cpu:/x\n3:memory:/docker/x\n", {"memory/memory.limit_in_bytes": f"{64 * MB}\n"}, 64 * MB),
        ("3:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("", {}, None),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, own: str, files: dict[str, str], expected: int | None) -> None:
    """Limits of the own cgroup and of all above it are read; `max` and a huge number are none."""
    root, named = write(tmp_path, {"own": own} | {f"fs/{name}": text for name, text in files.items()})
    assert memory_limit_bytes(root, named) == expected


def test_a_system_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    """Without the file that names the own cgroup, as on macOS, there is no limit."""
    assert memory_limit_bytes(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize(("limit", "is_little"), [(None, False), (384 * MB, False), (384 * MB - 1, True)])
def test_little_memory_is_named(monkeypatch: pytest.MonkeyPatch, limit: int | None, is_little: bool) -> None:
    """Below 384 MB the reason says how much there is."""
    monkeypatch.setattr(serving, "memory_limit_bytes", lambda: limit)
    assert serving.little_memory() == ("memory is limited to 383 MB, which is less than 384" if is_little else "")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How services were started, on a machine with 200 MB."""
    found: list[str] = []
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    monkeypatch.setattr(serving, "memory_limit_bytes", lambda: 200 * MB)
    monkeypatch.setattr(serving, "serve_in_process", lambda *_: found.append("in process"))

    def supervise(*_: object) -> None:
        found.append("supervised")
        raise SystemExit(0)  # the real one becomes another program

    monkeypatch.setattr(serving, "serve_supervised", supervise)
    return found


def test_with_little_memory_the_observer_is_off(started: list[str]) -> None:
    """One worker then serves in one process, and the reason is written; `--observer process` starts it all the same."""
    ended = CliRunner().invoke(cli, ["serve", "bundle"])
    assert "sightline: no observer process: memory is limited to 200 MB" in ended.stderr
    assert CliRunner().invoke(cli, ["serve", "bundle", "--observer", "process"]).stderr == ""
    assert CliRunner().invoke(cli, ["serve", "bundle", "--observer", "off"]).stderr == ""
    assert started == ["in process", "supervised", "in process"]


def test_with_little_memory_several_workers_are_refused(started: list[str]) -> None:
    """The message names the limit, and the option that starts them all the same."""
    ended = CliRunner().invoke(cli, ["serve", "bundle", "--workers", "2"])
    assert isinstance(ended.exception, SettingsError)
    assert "limited to 200 MB, which is less than 384: --observer process starts it" in str(ended.exception)
    assert started == []
