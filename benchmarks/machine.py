"""Where it was measured: processor, Python, and the versions of everything that took part."""

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.servers import CACHE

_OURS = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "pydantic",
    "numpy",
    "pandas",
    "scikit-learn",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-fastapi",
    "prometheus-client",
)
_OTHERS = {
    "litserve": ("litserve", "fastapi", "uvicorn", "scikit-learn"),
    "bentoml": ("bentoml", "starlette", "uvicorn", "scikit-learn"),
    "mlserver": ("mlserver", "fastapi", "uvicorn", "scikit-learn"),
}


def machine() -> list[str]:
    """Lines of Markdown."""
    return [
        f"- {os.cpu_count()} cores ({platform.machine()}, {_processor()}), {platform.system()} {platform.release()}; "
        f"the load generator shares them with the server",
        f"- Python {platform.python_version()}; one OpenMP thread for each server of the comparison",
        f"- {_versions(_OURS)}",
        *(f"- {_other(name, packages)}" for name, packages in _OTHERS.items()),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor() or "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown processor")


def _other(name: str, packages: Sequence[str]) -> str:
    folders = [str(each) for each in (CACHE / name / "lib").glob("python3*/site-packages")]
    if not folders:
        return f"{name}: not installed, left out; `make bench-servers` installs it"
    return f"in an environment of its own: {_versions(packages, folders)}"


def _versions(packages: Sequence[str], folders: Iterable[str] | None = None) -> str:
    found = distributions() if folders is None else distributions(path=list(folders))
    versions = {each.metadata["Name"].lower().replace("_", "-"): each.version for each in found}
    return ", ".join(f"{name} {versions[name]}" for name in packages if name in versions)
