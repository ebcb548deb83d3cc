"""Runs the library's tests on every Python from 3.11 on that this machine has; run by `make test-pythons`.

Each Python gets an environment of its own with the versions of uv.lock. The last lines say which Pythons ran how many
tests, and which of 3.11 to 3.14 the machine does not have.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".environments"
MINORS = (11, 12, 13, 14)
UV = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
ONLY = os.environ.get("ONLY", "")
"""The one Python that is asked for, as "3.12"; all if it is empty."""


def _candidates(name: str) -> Iterator[Path]:
    """Where a Python may be: on PATH, among pyenv's, and where uv finds it."""
    on_path = (Path(folder) / name for folder in os.environ.get("PATH", "").split(os.pathsep))
    yield from (path for path in on_path if path.is_file())
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/*/bin/{name}"), reverse=True)
    found = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", "--system", name.removeprefix("python")],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == 0:
        yield Path(found.stdout.strip())


def _find(minor: int) -> Path | None:
    """A Python 3.MINOR that runs: a shim of pyenv may be there for a version that is not chosen."""
    script = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for path in _candidates(f"python3.{minor}"):
        if subprocess.run([path, "-c", script], capture_output=True, check=False).returncode == 0:
            return path
    return None


def _run_tests(python: Path, minor: int, options: list[str]) -> tuple[bool, int]:
    """True if all of the library's tests pass, and how many ran."""
    folder = ENVIRONMENTS / f"3.{minor}"
    report = folder / "report.xml"
    sync = [UV, "sync", "--frozen", "--quiet", "--python", str(python)]
    subprocess.run(sync, check=True, cwd=ROOT, env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)})
    pytest = [str(folder / "bin" / "python"), "-m", "pytest", "tests/telemetry", f"--junitxml={report}", *options]
    status = subprocess.run(pytest, check=False, cwd=ROOT).returncode
    suite = ET.parse(report).getroot()[0]  # noqa: S314  # pytest wrote it a moment ago
    return status == 0, int(suite.attrib["tests"]) - int(suite.attrib["skipped"])


def main(options: list[str]) -> int:
    """Runs the tests on each Python and returns 1 if one of them fails."""
    wanted = [minor for minor in MINORS if ONLY in ("", f"3.{minor}")]
    found = {minor: python for minor in wanted if (python := _find(minor))}
    lines, failed = [], False
    for minor, python in found.items():
        print(f"== Python 3.{minor}: {python}", flush=True)
        passed, tests = _run_tests(python, minor, options)
        failed |= not passed
        lines.append(f"Python 3.{minor}: {tests} tests {'passed' if passed else 'ran, some FAILED'} ({python})")
    missing = [f"3.{minor}" for minor in wanted if minor not in found]
    lines.append(f"not found on this machine: {', '.join(missing) or 'none'}")
    print("\n".join(lines))
    return int(failed or not found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
